#include "report/journal.h"

#include "base/metric.h"
#include "report/journal_file.h"
#include "tests/store_bed.h"

#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DAY = 19675 /* of BED_START */, THREADS = 4, EACH = 2000 };

static struct history history;
static struct journal *journal;
static struct journal_folder folder; /* only its path */

static struct history_entry entry_of(unsigned source)
{
    return (struct history_entry){
        .day = DAY,
        .policy_domain = "example.org",
        .record = STR("v=DMARC1; p=reject; rua=mailto:d@example.org"),
        .source = {.family = 4, .b = {192, 0, (unsigned char)(source >> 8), (unsigned char)source}},
        .spf_aligned = source % 2 == 0,
        .accepted = source % 2 == 0,
        .header_from = "example.org",
        .envelope_from = "example.org",
        .envelope_to = "example.net",
        .spf_domain = "example.org",
        .spf_scope = SPF_MFROM,
        .spf_result = SPF_PASS};
}

static void add(unsigned source, int times)
{
    struct history_entry entry = entry_of(source);
    struct arena *mem = arena_new(0);

    for (int i = 0; i < times; i++)
        journal_add(journal, mem, &entry);
    arena_free(&mem);
}

static void open_store(void)
{
    bed_open_store();
    history_init(&history, bed_store, "mx1.example.net");
}

static void open_journal(void)
{
    journal = journal_open(bed_loop, &history);
}

static struct history_sums sums;

static bool on_domain(int64_t day, const char *domain, const struct history_sums *got, void *arg)
{
    (void)day, (void)domain, (void)arg;
    sums = *got;
    return true;
}

static uint64_t counted(void)
{
    struct fail fail;

    sums = (struct history_sums){0};
    t_same_int(history_each_domain(bed_store, DAY, on_domain, NULL, &fail), 0);
    return sums.messages;
}

/* The pages that lie in shared memory; the path of the first. */
static size_t pages(char *first, size_t first_bytes)
{
    char pattern[128];
    glob_t found;
    size_t count = 0;

    snprintf(pattern, sizeof(pattern), "%s/*", folder.path);
    if (glob(pattern, 0, NULL, &found) == 0)
        count = found.gl_pathc;
    if (count > 0 && first != NULL)
        snprintf(first, first_bytes, "%s", found.gl_pathv[0]);
    globfree(&found);
    return count;
}

static bool folder_is_there(void)
{
    return access(folder.path, F_OK) == 0;
}

static int set_up(void **state)
{
    struct fail fail;

    if (bed_set_up(state) != 0)
        return -1;
    bed_notes_unsafe = 0;
    journal_folder_open(&folder, bed_file, false, &fail);
    journal_folder_close(&folder);
    return 0;
}

static int set_up_store(void **state)
{
    if (set_up(state) != 0)
        return -1;
    open_store();
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    journal_close(&journal);
    snprintf(command, sizeof(command), "rm -rf %s", folder.path);
    if (system(command) != 0)
        return -1;
    return bed_tear_down(state);
}

/* ---- counting ---- */

static void test_counting(void **state)
{
    (void)state;
    open_journal();
    add(2, 3);
    add(3, 2);
    t_case("what was added lies in shared memory", NULL);
    t_same_int(pages(NULL, 0), 1);
    t_same_int(counted(), 0);
    journal_close(&journal);
    t_case("and is in the store when the journal was closed, a row for what a report cannot tell apart", NULL);
    t_same_int(counted(), 5);
    t_same_int(sums.rows, 2);
    t_same_int(sums.accepted, 3);
    t_same_int(sums.passed, 3);
    t_case("nothing stays in shared memory", NULL);
    t_true(!folder_is_there());
}

static struct timer stop_timer;

static void on_end(void *arg)
{
    (void)arg;
    loop_stop(bed_loop);
}

static void on_stop(void *arg)
{
    (void)arg;
    if (counted() == 0 || pages(NULL, 0) > 0)
        timer_start(&stop_timer, bed_loop, 5, on_stop, NULL);
    else
        loop_stop(bed_loop);
}

static void run_until_counted(void)
{
    timer_start(&stop_timer, bed_loop, 5, on_stop, NULL);
    loop_run(bed_loop);
}

/* A record that cannot be read back would stop the process. */
static void test_long_values(void **state)
{
    char octets[70000], name[300], domain[256];
    struct history_entry entry = entry_of(6);
    struct arena *mem = arena_new(0);

    (void)state;
    memset(octets, '\xff', sizeof(octets));
    memset(name, '\x80', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    memset(domain, 'd', sizeof(domain));
    domain[sizeof(domain) - 1] = '\0';
    entry.source.family = 6;
    entry.policy_domain = domain;
    entry.header_from = entry.envelope_from = entry.envelope_to = entry.spf_domain = entry.comment = name;
    entry.disposition = DMARC_POLICY_REJECT;
    entry.override = HISTORY_OTHER;
    entry.spf_result = SPF_PERMERROR;
    entry.dkim_count = HISTORY_DKIM_MAX;
    for (size_t i = 0; i < HISTORY_DKIM_MAX; i++)
        entry.dkim[i] = (struct history_dkim){name, name + i, DKIM_PERMERROR};
    open_journal();
    for (size_t n = 3990; n <= sizeof(octets); n = n < 4010 ? n + 1 : 2 * n) {
        entry.record = str_make(octets, n);
        journal_add(journal, mem, &entry);
    }
    octets[3999] = ';';
    entry.record = str_make(octets, sizeof(octets));
    journal_add(journal, mem, &entry);
    journal_close(&journal);
    t_case("whatever a message has, however long, is counted", NULL);
    t_same_int(counted(), 26);
    arena_free(&mem);
}

static void test_by_itself(void **state)
{
    (void)state;
    open_journal();
    add(1, 7);
    run_until_counted();
    t_case("soon it is counted by itself, and its file goes", NULL);
    t_same_int(counted(), 7);
    add(1, 1);
    add(2, 1);
    journal_close(&journal);
    t_case("and what comes later is added", NULL);
    t_same_int(counted(), 9);
    t_same_int(sums.rows, 2);
}

static void test_tickets(void **state)
{
    uint64_t first, second;

    (void)state;
    open_journal();
    t_case("where nothing was added, all is counted", NULL);
    t_true(journal_has_counted(journal, journal_ticket(journal)));
    add(1, 7);
    first = journal_ticket(journal);
    t_case("what was added is not yet", NULL);
    t_true(!journal_has_counted(journal, first));
    run_until_counted();
    t_case("then it is", NULL);
    t_true(journal_has_counted(journal, first));
    add(1, 1);
    second = journal_ticket(journal);
    t_case("whatever is added behind it", NULL);
    t_true(journal_has_counted(journal, first));
    t_true(!journal_has_counted(journal, second));
}

static void *add_many(void *arg)
{
    for (unsigned i = 0; i < EACH; i++)
        add(i % 50, 1);
    return arg;
}

static void test_threads(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    open_journal();
    for (size_t i = 0; i < THREADS; i++)
        t_same_int(pthread_create(&threads[i], NULL, add_many, NULL), 0);
    run_until_counted(); /* while they add */
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    journal_close(&journal);
    t_case("workers that add at the same time lose nothing", NULL);
    t_same_int(counted(), THREADS * EACH);
    t_same_int(sums.rows, 50);
    t_same_int(sums.accepted, THREADS * EACH / 2);
}

static void test_left_out(void **state)
{
    (void)state;
    history.rows_max = 4;
    open_journal();
    for (unsigned i = 0; i < 10; i++)
        add(i, 3);
    journal_close(&journal);
    t_case("what finds no room is left out, and that is counted", NULL);
    t_same_int(counted(), 30);
    t_same_int(sums.rows, 4);
    t_same_int(sums.left_out, 18);
    t_same_int(sums.accepted, 15);
    t_same_int(sums.passed, 15);
}

/* ---- the store is away ---- */

static void move_store_to(const char *name)
{
    char path[128];
    struct fail fail;

    store_close(&bed_store);
    snprintf(path, sizeof(path), "%s/%s", bed_folder, name);
    bed_use_file(path);
    open_store();
    journal_folder_open(&folder, path, false, &fail);
    journal_folder_close(&folder);
}

static void test_away(void **state)
{
    char path[128], page[128];

    (void)state;
    move_store_to("missing/state.db");
    open_journal();
    add(1, 4);
    journal_close(&journal);
    t_case("what the store could not take stays in its file, which says that its counting was begun", NULL);
    t_same_int(pages(page, sizeof(page)), 1);
    t_true(str_ends_same(str_of(page), STR(".counting")));
    snprintf(path, sizeof(path), "%s/missing", bed_folder);
    t_same_int(mkdir(path, 0700), 0);
    move_store_to("missing/state.db");
    open_journal();
    add(1, 1);
    journal_close(&journal);
    t_case("until it can", NULL);
    t_same_int(counted(), 5);
    t_true(!folder_is_there());
    store_close(&bed_store);
    t_same_int(unlink(bed_settings.url + strlen("sqlite:")), 0);
}

static void test_away_for_long(void **state)
{
    struct metric *missing = metric_counter("smtpguard_dmarc_uncounted_total", "", "");
    double before = metric_value(missing);
    unsigned added = 0;

    (void)state;
    move_store_to("missing/state.db");
    open_journal();
    while (metric_value(missing) == before && added < 200000)
        add(added++, 1);
    t_case("the memory has an end", NULL);
    t_true(added > 10000 && added < 60000);
    t_case("what has its lot there goes on being counted", NULL);
    add(1, 1);
    t_true(metric_value(missing) == before + 1);
}

/* ---- processes that end ---- */

static int to_parent;

static _Noreturn void be_killed(void)
{
    char one = 1;

    open_store();
    open_journal();
    for (int round = 0; round < 200; round++) {
        for (unsigned i = 0; i < 20; i++) {
            add(i, 1);
            if (write(to_parent, &one, 1) != 1)
                _exit(1);
        }
        timer_start(&stop_timer, bed_loop, 7, on_end, NULL);
        loop_run(bed_loop);
    }
    _exit(1);
}

/* How many additions the child has told of. */
static int run_and_kill(int most)
{
    int ends[2], status, told = 0;
    pid_t child;
    char one;

    t_same_int(pipe(ends), 0);
    to_parent = ends[1];
    child = fork();
    if (child == 0)
        be_killed();
    close(ends[1]);
    for (int i = 0; i < most && read(ends[0], &one, 1) == 1; i++)
        told++;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    t_true(WIFSIGNALED(status));
    while (read(ends[0], &one, 1) == 1)
        told++;
    close(ends[0]);
    return told;
}

static void test_kill(void **state)
{
    int told = 0, rounds = 0;

    (void)state;
    for (int most = 3; most < 1500; most += 137, rounds++)
        told += run_and_kill(most);
    open_store();
    open_journal();
    t_case("what a former process left is not counted yet", NULL);
    t_true(!journal_has_counted(journal, journal_ticket(journal)));
    journal_close(&journal);
    t_case("kill -9 loses no message that was told of, and counts none twice", NULL);
    t_true(told > 5000);
    t_true(counted() >= (uint64_t)told && counted() <= (uint64_t)(told + rounds));
    t_same_int(sums.rows, 20);
    t_true(!folder_is_there());
}

static void copy(const char *from, const char *to)
{
    static char bytes[64 * 1024];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    size_t n = in != NULL ? fread(bytes, 1, sizeof(bytes), in) : 0;

    t_true(n > 0 && out != NULL && fwrite(bytes, 1, n, out) == n);
    fclose(in);
    fclose(out);
}

/* The page of a process that was killed, and a copy of it; `counting`: its name from when its counting begins. */
struct left {
    char page[128], saved[128], counting[160];
    uint64_t told;
};

static void leave_page(struct left *left)
{
    left->told = (uint64_t)run_and_kill(15);
    t_same_int(pages(left->page, sizeof(left->page)), 1);
    snprintf(left->saved, sizeof(left->saved), "%s/page", bed_folder);
    snprintf(left->counting, sizeof(left->counting), "%s.counting", left->page);
    copy(left->page, left->saved);
}

static void test_counted_twice(void **state)
{
    struct left left;

    (void)state;
    leave_page(&left);
    open_store();
    history.rows_max = 10;
    open_journal();
    journal_close(&journal);
    uint64_t once = counted(), left_out = sums.left_out;
    t_true(once >= 15 && sums.rows == 10);
    for (int round = 0; round < 2; round++) {
        t_same_int(mkdir(folder.path, 0700), 0);
        copy(left.saved, left.counting);
        open_journal();
        journal_close(&journal);
        t_case("a page that was counted, but not taken away before the kill, adds nothing", NULL);
        t_same_int(counted(), once);
        t_same_int(sums.left_out, left_out);
        t_true(!folder_is_there());
    }
}

/* The mark in a row is that of the page that came last, so the one that was begun must come first. */
static void test_begun_comes_first(void **state)
{
    struct left left;

    (void)state;
    leave_page(&left);
    open_store();
    open_journal();
    journal_close(&journal);
    store_close(&bed_store);
    t_true(!folder_is_there());
    uint64_t told = (uint64_t)run_and_kill(15);
    open_store();
    uint64_t once = counted();
    copy(left.saved, left.counting);
    t_same_int(pages(NULL, 0), 2);
    open_journal();
    run_until_counted(); /* both, though nothing is added */
    journal_close(&journal);
    t_case("of two pages that were left the one whose counting was begun comes first", NULL);
    t_true(once >= 15);
    t_true(counted() >= once + told && counted() <= once + told + 1);
    t_true(!folder_is_there());
}

static void test_torn(void **state)
{
    struct stat st;
    char page[128];

    (void)state;
    int told = run_and_kill(10);
    t_same_int(pages(page, sizeof(page)), 1);
    t_same_int(stat(page, &st), 0);
    t_same_int(truncate(page, st.st_size - 1), 0);
    open_store();
    open_journal();
    journal_close(&journal);
    t_case("of a page whose last record is not whole the others are counted", NULL);
    t_true(counted() + 1 >= (uint64_t)told && counted() > 0);
}

static void test_garbage(void **state)
{
    static const char bytes[] = "\377\377\377\177 no record at all";
    char path[128];

    (void)state;
    t_same_int(mkdir(folder.path, 0700), 0);
    snprintf(path, sizeof(path), "%s/00000000000abc", folder.path);
    FILE *file = fopen(path, "wb");
    t_true(file != NULL && fwrite(bytes, 1, sizeof(bytes), file) == sizeof(bytes));
    fclose(file);
    open_journal();
    journal_close(&journal);
    t_case("a file of garbage is none of ours, and goes", NULL);
    t_same_int(counted(), 0);
    t_true(!folder_is_there());
}

/* ---- several processes ---- */

static void test_locked(void **state)
{
    int fd;

    (void)state;
    t_same_int(mkdir(folder.path, 0700), 0);
    fd = open(folder.path, O_RDONLY | O_DIRECTORY);
    t_same_int(flock(fd, LOCK_EX), 0);
    open_journal();
    add(1, 3);
    journal_close(&journal);
    t_case("while another process counts, ours is left to it", NULL);
    t_same_int(counted(), 0);
    t_same_int(pages(NULL, 0), 1);
    t_case("which a verb waits for in vain", NULL);
    t_true(!journal_catch_up(bed_loop, &history));
    close(fd);
    t_case("or does itself, when nobody does", NULL);
    t_true(journal_catch_up(bed_loop, &history));
    t_same_int(counted(), 3);
    t_true(!folder_is_there());
    t_case("and with nothing to do it makes no folder", NULL);
    t_true(journal_catch_up(bed_loop, &history));
    t_true(!folder_is_there());
}

static void test_catch_up(void **state)
{
    int ends[2], status;
    char one = 1;
    pid_t child;

    (void)state;
    t_same_int(pipe(ends), 0);
    child = fork();
    if (child == 0) {
        bed_loop = loop_new(); /* the other is its parent's */
        open_store();
        open_journal();
        add(1, 5);
        t_same_int(write(ends[1], &one, 1), 1);
        timer_start(&stop_timer, bed_loop, 3000, on_end, NULL);
        loop_run(bed_loop);
        _exit(0);
    }
    t_same_int(read(ends[0], &one, 1), 1);
    open_store();
    t_case("a verb beside the daemon sees what was added before", NULL);
    t_true(journal_catch_up(bed_loop, &history));
    t_same_int(counted(), 5);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    close(ends[0]);
    close(ends[1]);
}

static void test_unsafe_folder(void **state)
{
    (void)state;
    t_same_int(mkdir(folder.path, 0700), 0);
    t_same_int(chmod(folder.path, 0777), 0);
    open_journal();
    add(1, 2);
    t_case("a folder that others can write to is not used", NULL);
    t_same_int(pages(NULL, 0), 0);
    journal_close(&journal);
    t_case("but all is counted", NULL);
    t_same_int(counted(), 2);
}

/* The other one had made the folder when we were there already. */
static void test_locked_later(void **state)
{
    struct left left;
    int fd;

    (void)state;
    leave_page(&left);
    t_same_int(unlink(left.page), 0);
    t_same_int(rmdir(folder.path), 0);
    open_store();
    open_journal();
    t_same_int(mkdir(folder.path, 0700), 0);
    fd = open(folder.path, O_RDONLY | O_DIRECTORY);
    t_same_int(flock(fd, LOCK_EX), 0);
    add(1, 3);
    copy(left.saved, left.counting);
    close(fd);
    journal_close(&journal);
    t_case("whoever takes over from a process that was killed counts its page first", NULL);
    t_true(counted() >= left.told + 3);
    t_true(!folder_is_there());
}

static void test_folder_of_somebody(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    t_same_int(mkdir(folder.path, 0700), 0);
    t_same_int(chown(folder.path, 65534, 65534), 0);
    open_journal();
    add(1, 2);
    t_case("root does not use a folder that neither he nor the store's owner has made", NULL);
    t_same_int(pages(NULL, 0), 0);
    t_true(!journal_catch_up(bed_loop, &history));
    journal_close(&journal);
    t_case("but that of the store's owner", NULL);
    t_same_int(chown(bed_file, 65534, 65534), 0);
    open_journal();
    add(1, 2);
    t_same_int(pages(NULL, 0), 1);
    t_same_int(chown(bed_file, 0, 0), 0);
}

static void test_folder_goes(void **state)
{
    char command[128];

    (void)state;
    open_journal();
    add(1, 7);
    run_until_counted();
    snprintf(command, sizeof(command), "rm -rf %s", folder.path);
    t_same_int(system(command), 0);
    add(1, 1);
    t_case("a folder that somebody has taken away is made again", NULL);
    t_same_int(pages(NULL, 0), 1);
    t_same_int(bed_notes_unsafe, 0);
}

static void test_full_memory(void **state)
{
    struct rlimit before, none;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    t_same_int(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    open_journal();
    for (int round = 0; round < 2; round++) {
        t_same_int(setrlimit(RLIMIT_FSIZE, &none), 0);
        add(1, 7);
        t_same_int(setrlimit(RLIMIT_FSIZE, &before), 0);
        run_until_counted();
    }
    t_case("a memory that takes no more is said, once", NULL);
    t_same_int(bed_notes_unsafe, 1);
    add(1, 1);
    journal_close(&journal);
    t_case("and all is counted", NULL);
    t_same_int(counted(), 15);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up_store, tear_down)
/* These fork, and a store has threads. */
#define FORKING_ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FORKING_ROW(test_kill),
        FORKING_ROW(test_counted_twice),
        FORKING_ROW(test_begun_comes_first),
        FORKING_ROW(test_torn),
        FORKING_ROW(test_catch_up),
        FORKING_ROW(test_locked_later),
        ROW(test_counting),
        ROW(test_long_values),
        ROW(test_by_itself),
        ROW(test_tickets),
        ROW(test_threads),
        ROW(test_left_out),
        ROW(test_away),
        ROW(test_away_for_long),
        ROW(test_garbage),
        ROW(test_locked),
        ROW(test_unsafe_folder),
        ROW(test_folder_of_somebody),
        ROW(test_folder_goes),
        ROW(test_full_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
