#include "report/journal.h"

#include "base/buf.h"
#include "base/bug.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/metric.h"
#include "report/journal_file.h"
#include "report/journal_record.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/*
 * The journal has a page on which the workers write, under a lock, and a page that is being counted, which belongs to
 * the loop. A page is its lots in memory and the same as records in its file; only after a crash is the file read.
 *
 * Counting a page may happen twice: when the store was away in the middle of it, or the process was killed. The page's
 * mark in each row makes the second time add nothing (report/history.h), as long as pages are counted one after the
 * other; the lock of the folder sees to that among processes.
 *
 * Roads not taken: a request to the store for each message, answered before its 250 (waking two threads and a commit
 * of its own cost 7 to 14 % of a message); a file on disk (a disk that hangs would stop the workers); a mapped file
 * (a full disk would be a SIGBUS).
 */

enum { AGAIN_MS = 500, FLIGHT_MAX = 64, CATCH_UP_MS = 2000, CATCH_UP_STEP_MS = 10, PAGES_MAX = 64 };

struct row {
    struct journal *journal;
    struct history_lot lot;
    uint64_t passed; /* of what is left out */
    UT_hash_handle hh;
};

struct page {
    struct journal_file file;
    struct arena *mem;
    size_t bytes;
    struct row *rows;
    struct arena *left_mem; /* NULL: nothing is left out */
    struct row *left_out;   /* by day, origin and domain */
    uint64_t number;        /* 0: of a former process */
    bool is_unsafe;         /* its file has not all of it */
};

struct journal {
    struct loop *loop;
    struct history history;

    pthread_mutex_t lock; /* guards what follows, up to the blank line */
    struct page *written; /* NULL: nothing was added since the last one was taken */
    struct journal_folder folder;
    uint64_t begun, ended; /* the numbers of the last pages */
    bool left_behind;      /* a former process has left pages, or may have; only the loop changes it */
    bool is_woken;  /* the loop knows that there is something */
    bool is_full;   /* said; until a page is counted */
    bool is_unsafe; /* said; until a page is counted that was safe */

    /* The loop's own. */
    struct page *counted; /* NULL: none */
    struct row *next;     /* of that page */
    bool leaves_out;      /* its rows are done: now for those that found no room */
    size_t flying;
    bool failed; /* the store could not take all of it */
    bool is_closing;
    struct timer timer;
};

static struct metric *not_counted;

static void make_metric(void)
{
    not_counted = metric_counter("smtpguard_dmarc_uncounted_total",
                                 "Messages that DMARC's counters do not have, because the store was away too long.",
                                 "");
}

/* ---- pages ---- */

static struct page *page_new(void)
{
    struct arena *mem = arena_new(64 * 1024);
    struct page *page = ARENA_NEW(mem, struct page);

    *page = (struct page){.mem = mem};
    return page;
}

static void page_free(struct page **page)
{
    struct page *p = *page;
    struct arena *mem;

    if (p == NULL)
        return;
    HASH_CLEAR(hh, p->rows);
    HASH_CLEAR(hh, p->left_out);
    arena_free(&p->left_mem);
    mem = p->mem;
    arena_free(&mem);
    *page = NULL;
}

/* A new lot points into a copy of its record. */
static bool page_add(struct page *page, struct journal *journal, struct str record, const struct history_lot *lot)
{
    struct str key = journal_record_key(record, lot);
    struct row *row;

    HASH_FIND(hh, page->rows, key.p, (unsigned)key.n, row);
    if (row == NULL) {
        struct str copy;

        if (page->bytes + sizeof(*row) + record.n > JOURNAL_ROWS_BYTES)
            return false;
        page->bytes += sizeof(*row) + record.n;
        row = ARENA_NEW(page->mem, struct row);
        copy = str_copy(page->mem, record);
        *row = (struct row){.journal = journal};
        if (!journal_record_read(copy, &row->lot))
            bug("a journal's record that cannot be read");
        row->lot.messages = row->lot.accepted = 0;
        key = journal_record_key(copy, &row->lot);
        HASH_ADD_KEYPTR(hh, page->rows, key.p, (unsigned)key.n, row);
    }
    row->lot.messages += lot->messages;
    row->lot.accepted += lot->accepted;
    return true;
}

/* ---- adding; on any thread, under the lock ---- */

static uint64_t draw_mark(void)
{
    uint64_t mark = 0;

    while (mark == 0) {
        if (getrandom(&mark, sizeof(mark), 0) != (ssize_t)sizeof(mark))
            bug("getrandom gave no mark");
        mark %= HISTORY_MARK_END;
    }
    return mark;
}

static void say_unsafe(struct journal *j, const struct fail *why)
{
    if (!j->is_unsafe)
        log_note(LOG_WARNING, "dmarc-journal", "%s; DMARC's counters are not safe from a kill", why->text);
    j->is_unsafe = true;
}

static void open_folder(struct journal *j, bool make)
{
    struct fail fail;

    if (journal_folder_open(&j->folder, store_file(j->history.store), make, &fail) != 0)
        say_unsafe(j, &fail);
}

/* The folder may have gone with another process that had it, or was taken away under our hands. */
static void begin_page(struct journal *j)
{
    uint64_t mark = draw_mark();
    struct fail fail;

    j->written = page_new();
    j->written->number = ++j->begun;
    if (journal_file_new(&j->written->file, &j->folder, mark, &fail) == 0)
        return;
    if (!j->folder.ours || !journal_folder_is_there(&j->folder)) {
        journal_folder_release(&j->folder);
        journal_folder_close(&j->folder);
        open_folder(j, true);
        (void)journal_folder_claim(&j->folder);
        if (journal_file_new(&j->written->file, &j->folder, mark, &fail) == 0)
            return;
    }
    say_unsafe(j, &fail);
}

/* What the file does not take is counted from memory. */
static bool write_down(struct journal *j, struct str record, const struct history_lot *lot)
{
    struct fail fail;

    if (j->written == NULL)
        begin_page(j);
    if (!page_add(j->written, j, record, lot))
        return false;
    if (journal_file_add(&j->written->file, record, &fail) != 0) {
        say_unsafe(j, &fail);
        j->written->is_unsafe = true;
    }
    return true;
}

static void on_woken(void *arg);

void journal_add(struct journal *j, struct arena *mem, const struct history_entry *entry)
{
    struct history_lot lot = history_lot_of(&j->history, mem, entry);
    struct str record = journal_record(mem, &lot);
    bool is_first, fits, was_full;

    pthread_mutex_lock(&j->lock);
    fits = write_down(j, record, &lot);
    is_first = !j->is_woken;
    j->is_woken = true;
    was_full = j->is_full;
    j->is_full = was_full || !fits;
    pthread_mutex_unlock(&j->lock);
    if (is_first)
        loop_post(j->loop, on_woken, j);
    if (!fits)
        metric_add(not_counted, 1);
    if (!fits && !was_full)
        log_note(LOG_ERROR, "dmarc-uncounted", "the store has been away for too long: messages are missing from DMARC's counters");
}

/* ---- counting; on the loop ---- */

static void count_on(struct journal *j);
static void on_due(void *arg);

static void on_woken(void *arg)
{
    struct journal *j = arg;

    if (j->counted == NULL && !timer_is_started(&j->timer))
        timer_start(&j->timer, j->loop, JOURNAL_GATHER_MS, on_due, j);
}

static void leave_out(struct page *page, const struct row *row)
{
    struct str key = journal_record_domain_key(str_make(row->hh.key, row->hh.keylen), &row->lot);
    struct row *left;

    if (page->left_mem == NULL)
        page->left_mem = arena_new(0);
    HASH_FIND(hh, page->left_out, key.p, (unsigned)key.n, left);
    if (left == NULL) {
        left = ARENA_NEW(page->left_mem, struct row);
        *left = (struct row){.journal = row->journal, .lot = row->lot};
        left->lot.messages = left->lot.accepted = 0;
        HASH_ADD_KEYPTR(hh, page->left_out, key.p, (unsigned)key.n, left);
    }
    left->lot.messages += row->lot.messages;
    left->lot.accepted += row->lot.accepted;
    left->passed += history_lot_passes(&row->lot) ? row->lot.messages : 0;
}

static void on_counted(enum history_outcome outcome, void *arg)
{
    struct row *row = arg;
    struct journal *j = row->journal;

    j->flying--;
    if (outcome == HISTORY_FULL)
        leave_out(j->counted, row);
    j->failed = j->failed || outcome == HISTORY_UNAVAILABLE;
    count_on(j);
}

static void count_one(struct journal *j)
{
    struct row *row = j->next;
    uint64_t mark = j->counted->file.mark;

    j->next = row->hh.next;
    j->flying++;
    if (j->leaves_out)
        history_leave_out(&j->history, j->loop, &row->lot, row->passed, mark, on_counted, row);
    else
        history_add(&j->history, j->loop, &row->lot, mark, on_counted, row);
}

static void begin_counting(struct journal *j)
{
    HASH_CLEAR(hh, j->counted->left_out);
    arena_free(&j->counted->left_mem);
    j->next = j->counted->rows;
    j->leaves_out = j->failed = false;
}

static struct page *take_written(struct journal *j)
{
    struct page *page;

    pthread_mutex_lock(&j->lock);
    page = j->written;
    j->written = NULL;
    j->is_woken = false;
    if (page != NULL)
        journal_file_counting(&page->file, &j->folder);
    pthread_mutex_unlock(&j->lock);
    return page;
}

static bool on_record(struct str record, void *arg)
{
    struct journal *j = arg;
    struct history_lot lot;

    return journal_record_read(record, &lot) && page_add(j->counted, j, record, &lot);
}

/* Also later than at the start: another process that counted, or had to leave it to us, may have ended since. */
static bool take_left_behind(struct journal *j)
{
    struct journal_file file;
    uint64_t unread;
    bool is_there;

    pthread_mutex_lock(&j->lock);
    is_there = journal_file_take(&file, &j->folder);
    if (is_there)
        journal_file_counting(&file, &j->folder);
    j->left_behind = is_there;
    pthread_mutex_unlock(&j->lock);
    if (!is_there)
        return false;
    j->counted = page_new();
    j->counted->file = file;
    unread = journal_file_read(&file, on_record, j);
    log_note(LOG_INFO, "dmarc-journal",
             "counting what a former process left behind: %llu octets, %llu of them no whole record",
             (unsigned long long)file.bytes, (unsigned long long)unread);
    return true;
}

/* With nothing that is shared, nobody could disturb us. */
static bool may_count(struct journal *j)
{
    bool may;

    pthread_mutex_lock(&j->lock);
    may = journal_folder_claim(&j->folder) || j->folder.fd < 0;
    pthread_mutex_unlock(&j->lock);
    return may;
}

/* Another try later, or at the end none. */
static void put_off(struct journal *j)
{
    if (j->is_closing)
        loop_stop(j->loop);
    else
        timer_start(&j->timer, j->loop, AGAIN_MS, on_due, j);
}

static void count_next_page(struct journal *j)
{
    if (!may_count(j)) {
        put_off(j);
        return;
    }
    if (!take_left_behind(j))
        j->counted = take_written(j);
    if (j->counted != NULL) {
        begin_counting(j);
        count_on(j);
    } else if (j->is_closing) {
        loop_stop(j->loop);
    }
}

static void end_page(struct journal *j)
{
    bool more;

    pthread_mutex_lock(&j->lock);
    journal_file_end(&j->counted->file, &j->folder);
    if (j->counted->number > 0) {
        j->ended = j->counted->number;
        j->is_unsafe = j->is_unsafe && j->counted->is_unsafe;
    }
    j->is_full = false;
    more = j->is_woken;
    pthread_mutex_unlock(&j->lock);
    page_free(&j->counted);
    if (j->is_closing || j->left_behind)
        count_next_page(j);
    else if (more)
        timer_start(&j->timer, j->loop, JOURNAL_GATHER_MS, on_due, j);
}

/* A flight at a time, so that the store has them together; and not so many that others would feel it. */
static void count_on(struct journal *j)
{
    if (j->flying > 0)
        return;
    while (!j->failed && j->flying < FLIGHT_MAX && j->next != NULL)
        count_one(j);
    if (j->flying > 0)
        return;
    if (j->failed) {
        put_off(j);
    } else if (!j->leaves_out && j->counted->left_out != NULL) {
        j->leaves_out = true;
        j->next = j->counted->left_out;
        count_on(j);
    } else {
        end_page(j);
    }
}

static void on_due(void *arg)
{
    struct journal *j = arg;

    if (j->counted == NULL) {
        count_next_page(j);
        return;
    }
    begin_counting(j); /* once more */
    count_on(j);
}

/* ---- life ---- */

static struct journal *journal_new(struct loop *loop, const struct history *history)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct journal *j = calloc(1, sizeof(*j));

    if (j == NULL)
        out_of_memory();
    pthread_once(&once, make_metric);
    j->loop = loop;
    j->history = *history;
    j->folder.fd = -1;
    pthread_mutex_init(&j->lock, NULL);
    return j;
}

struct journal *journal_open(struct loop *loop, const struct history *history)
{
    struct journal *j = journal_new(loop, history);

    open_folder(j, false);
    j->left_behind = j->folder.fd >= 0;
    if (j->left_behind)
        timer_start(&j->timer, loop, 0, on_due, j);
    return j;
}

uint64_t journal_ticket(struct journal *journal)
{
    uint64_t ticket;

    pthread_mutex_lock(&journal->lock);
    ticket = journal->begun;
    pthread_mutex_unlock(&journal->lock);
    return ticket;
}

bool journal_has_counted(struct journal *journal, uint64_t ticket)
{
    bool counted;

    pthread_mutex_lock(&journal->lock);
    counted = !journal->left_behind && journal->ended >= ticket;
    pthread_mutex_unlock(&journal->lock);
    return counted;
}

static uint64_t messages_of(const struct page *page)
{
    uint64_t messages = 0;

    for (const struct row *row = page->rows; row != NULL; row = row->hh.next)
        messages += row->lot.messages;
    return messages;
}

static void close_page(struct journal *j, struct page **page)
{
    if (*page == NULL)
        return;
    if ((*page)->file.fd >= 0)
        journal_file_close(&(*page)->file, &j->folder);
    else
        log_note(LOG_ERROR, "dmarc-uncounted",
                 "the store is away and there is no file: %llu messages are missing from DMARC's counters",
                 (unsigned long long)messages_of(*page));
    page_free(page);
}

/* One more try, and what is left then stays where it is. */
static void finish(struct journal *j)
{
    j->is_closing = true;
    if (j->flying == 0)
        timer_start(&j->timer, j->loop, 0, on_due, j);
    loop_run(j->loop);
    timer_stop(&j->timer);
    close_page(j, &j->counted);
    close_page(j, &j->written);
}

static void journal_free(struct journal **journal)
{
    pthread_mutex_destroy(&(*journal)->lock);
    free(*journal);
    *journal = NULL;
}

void journal_close(struct journal **journal)
{
    if (*journal == NULL)
        return;
    finish(*journal);
    journal_folder_close(&(*journal)->folder);
    journal_free(journal);
}

/* ---- for the verbs ---- */

static bool is_gone(const struct journal_folder *folder, const uint64_t *marks, size_t count)
{
    uint64_t now[PAGES_MAX];
    size_t now_count = journal_file_list(folder, now, PAGES_MAX);

    for (size_t i = 0; i < now_count; i++)
        for (size_t k = 0; k < count; k++)
            if (now[i] == marks[k])
                return false;
    return true;
}

static void count_left_behind(struct loop *loop, const struct history *history,
                              const struct journal_folder *folder)
{
    struct journal *j = journal_new(loop, history);

    j->folder = *folder;
    j->left_behind = true;
    finish(j);
    journal_free(&j);
}

/* Either a process is there that counts, or nobody is, and we do what nobody writes. */
static bool wait_or_count(struct loop *loop, const struct history *history, struct journal_folder *folder)
{
    static const struct timespec step = {0, CATCH_UP_STEP_MS * 1000000L};
    uint64_t marks[PAGES_MAX];
    size_t count = journal_file_list(folder, marks, PAGES_MAX);
    int64_t until_ms = clock_mono_ms(clock_system()) + CATCH_UP_MS;

    while (!is_gone(folder, marks, count) && clock_mono_ms(clock_system()) < until_ms) {
        if (journal_folder_claim(folder))
            count_left_behind(loop, history, folder);
        journal_folder_release(folder);
        nanosleep(&step, NULL);
    }
    return is_gone(folder, marks, count);
}

bool journal_catch_up(struct loop *loop, const struct history *history)
{
    struct journal_folder folder;
    struct fail fail;
    bool done;

    if (journal_folder_open(&folder, store_file(history->store), false, &fail) != 0)
        return false;
    done = wait_or_count(loop, history, &folder);
    (void)journal_folder_claim(&folder); /* an empty one goes */
    journal_folder_close(&folder);
    return done;
}
