#include "report/history_row.h"

#include "base/bug.h"
#include "tests/store_bed.h"

#include <stdio.h>
#include <unistd.h>

enum { DAY = 19675 }; /* of BED_START */

static struct history history;
static const char RECORD[] = "v=DMARC1; p=reject; rua=mailto:d@example.org";

static struct history_entry entry_from(const char *ip)
{
    struct history_entry e = {.day = DAY,
                              .policy_domain = "example.org",
                              .record = STR("v=DMARC1; p=reject; rua=mailto:d@example.org"),
                              .disposition = DMARC_POLICY_REJECT,
                              .accepted = true,
                              .header_from = "mail.example.org",
                              .envelope_from = "",
                              .envelope_to = "example.net",
                              .spf_domain = "mail.example.org",
                              .spf_scope = SPF_HELO,
                              .spf_result = SPF_SOFTFAIL,
                              .dkim_count = 1,
                              .dkim = {{"list.example", "s1", DKIM_PASS}},
                              .override = HISTORY_MAILING_LIST,
                              .comment = "a list"};

    if (!ip_parse(str_of(ip), &e.source))
        t_fail("%s", ip);
    return e;
}

/* ---- adding and reading ---- */

static enum history_outcome last_outcome;

static void on_added(enum history_outcome outcome, void *arg)
{
    last_outcome = outcome;
    if (--*(int *)arg == 0)
        loop_stop(bed_loop);
}

static enum history_outcome add_lot(const struct history_entry *e, int times, uint64_t mark)
{
    struct arena *mem = arena_new(0);
    struct history_lot lot = history_lot_of(&history, mem, e);
    int left = 1;

    lot.messages = (uint64_t)times;
    lot.accepted = e->accepted ? lot.messages : 0;
    history_add(&history, bed_loop, &lot, mark, on_added, &left);
    t_same_int(left, 1);
    loop_run(bed_loop);
    t_same_int(left, 0);
    if (last_outcome == HISTORY_FULL) {
        left = 1;
        history_leave_out(&history, bed_loop, &lot, history_lot_passes(&lot) ? lot.messages : 0, mark, on_added,
                          &left);
        loop_run(bed_loop);
    }
    arena_free(&mem);
    return last_outcome;
}

static void add(const struct history_entry *e, int times)
{
    static uint64_t mark;

    t_same_int(add_lot(e, times, ++mark), HISTORY_COUNTED);
}

static void set(const struct history_entry *e, uint64_t origin, uint64_t total)
{
    int left = 1;

    history_set(&history, bed_loop, e, origin, total, on_added, &left);
    loop_run(bed_loop);
}

static struct {
    struct arena *mem;
    int rows, domains;
    uint64_t messages;
    struct history_entry entry;
    uint64_t record_hash;
    struct history_sums sums;
    char domain[300];
} seen;

static bool on_row(const struct history_entry *entry, uint64_t record_hash, uint64_t count, void *arg)
{
    (void)arg;
    seen.rows++;
    seen.messages += count;
    seen.entry = *entry;
    seen.entry.comment = str_dup(seen.mem, str_of(entry->comment));
    seen.entry.header_from = str_dup(seen.mem, str_of(entry->header_from));
    seen.entry.spf_domain = str_dup(seen.mem, str_of(entry->spf_domain));
    seen.entry.dkim[0].domain = str_dup(seen.mem, str_of(entry->dkim[0].domain));
    seen.entry.dkim[0].selector = str_dup(seen.mem, str_of(entry->dkim[0].selector));
    seen.record_hash = record_hash;
    return true;
}

static bool on_domain(int64_t day, const char *domain, const struct history_sums *sums, void *arg)
{
    (void)arg;
    t_same_int(day, DAY);
    seen.domains++;
    seen.sums = *sums;
    snprintf(seen.domain, sizeof(seen.domain), "%s", domain);
    return true;
}

static void look(void)
{
    struct fail fail;

    arena_free(&seen.mem);
    memset(&seen, 0, sizeof(seen));
    seen.mem = arena_new(0);
    t_same_int(history_each_row(bed_store, DAY, "example.org", on_row, NULL, &fail), 0);
    t_same_int(history_each_domain(bed_store, DAY, on_domain, NULL, &fail), 0);
}

static int set_up(void **state)
{
    if (bed_set_up(state) != 0)
        return -1;
    bed_open_store();
    history_init(&history, bed_store, "mx1.example.net");
    return 0;
}

static int tear_down(void **state)
{
    arena_free(&seen.mem);
    return bed_tear_down(state);
}

static void test_counting(void **state)
{
    struct history_entry e = entry_from("192.0.2.1"), other = entry_from("2001:db8::1");
    struct str record;
    struct fail fail;

    (void)state;
    t_case("messages that a report cannot tell apart are one row with a count", "9990 2.1");
    add(&e, 3);
    look();
    t_same_int(seen.rows, 1);
    t_same_int(seen.messages, 3);
    t_case("what was put in comes out again", NULL);
    t_true(ip_eq(&seen.entry.source, &e.source));
    t_same_int(seen.entry.disposition, DMARC_POLICY_REJECT);
    t_same_int(seen.entry.override, HISTORY_MAILING_LIST);
    t_same_z(seen.entry.comment, "a list");
    t_same_z(seen.entry.header_from, "mail.example.org");
    t_same_z(seen.entry.spf_domain, "mail.example.org");
    t_same_int(seen.entry.spf_scope, SPF_HELO);
    t_same_int(seen.entry.spf_result, SPF_SOFTFAIL);
    t_same_int(seen.entry.dkim_count, 1);
    t_same_z(seen.entry.dkim[0].domain, "list.example");
    t_same_z(seen.entry.dkim[0].selector, "s1");
    t_same_int(history_record(bed_store, seen.mem, DAY, "example.org", seen.record_hash, &record, &fail), 0);
    t_same_str_z(record, RECORD);
    t_case("another source is another row", NULL);
    other.accepted = false;
    other.spf_aligned = true;
    add(&other, 2);
    look();
    t_same_int(seen.rows, 2);
    t_same_int(seen.messages, 5);
    t_case("the sums know how many were accepted, and how many passed", NULL);
    t_same_int(seen.domains, 1);
    t_same_z(seen.domain, "example.org");
    t_same_int(seen.sums.rows, 2);
    t_same_int(seen.sums.messages, 5);
    t_same_int(seen.sums.accepted, 3);
    t_same_int(seen.sums.passed, 2);
    t_case("a name that begins like another one is another domain", NULL);
    other.policy_domain = "example.org.uk";
    add(&other, 1);
    look();
    t_same_int(seen.messages, 5);
    t_same_int(seen.domains, 2);
}

static void test_cap(void **state)
{
    char ip[32];

    (void)state;
    history.rows_max = 5;
    for (int i = 0; i < 9; i++) {
        snprintf(ip, sizeof(ip), "192.0.2.%d", i);
        struct history_entry e = entry_from(ip);
        add(&e, i == 0 ? 2 : 1);
    }
    look();
    t_case("beyond the cap there are no new rows, but what is left out is counted", NULL);
    t_same_int(seen.rows, 5);
    t_same_int(seen.messages, 6);
    t_same_int(seen.sums.rows, 5);
    t_same_int(seen.sums.left_out, 4);
    t_same_int(seen.sums.messages, 10);
    t_same_int(seen.sums.accepted, 10);
    t_case("rows that are there go on counting", NULL);
    struct history_entry first = entry_from("192.0.2.0");
    add(&first, 1);
    look();
    t_same_int(seen.messages, 7);
    t_same_int(seen.sums.left_out, 4);
}

static void test_expiry(void **state)
{
    struct history_entry e = entry_from("192.0.2.1");

    (void)state;
    add(&e, 1);
    bed_advance_s((HISTORY_KEEP_DAYS - 1) * HISTORY_DAY_S);
    look();
    t_case("a day's rows are kept for two weeks", NULL);
    t_same_int(seen.rows, 1);
    bed_advance_s(3 * HISTORY_DAY_S);
    look();
    t_case("and then forgotten", NULL);
    t_same_int(seen.rows, 0);
    t_same_int(seen.domains, 0);
}

static void test_limits(void **state)
{
    char name[400], record[6000];
    struct history_entry e = entry_from("192.0.2.1");
    struct str kept;
    struct fail fail;

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    e.header_from = e.envelope_from = e.envelope_to = e.spf_domain = e.comment = name;
    e.dkim_count = HISTORY_DKIM_MAX;
    for (int i = 0; i < HISTORY_DKIM_MAX; i++)
        e.dkim[i] = (struct history_dkim){name, i % 2 ? name : "s", DKIM_FAIL};
    snprintf(record, sizeof(record), "v=DMARC1; p=none; rua=mailto:a@example.org");
    while (strlen(record) < sizeof(record) - 40)
        strcat(record, ",mailto:b@example.org");
    e.record = str_of(record);
    add(&e, 1);
    look();
    t_case("the longest of everything is a row still, cut where it must be", NULL);
    t_same_int(seen.rows, 1);
    t_same_int(strlen(seen.entry.header_from), 255);
    t_same_int(strlen(seen.entry.comment), 100);
    t_case("a signature that comes twice is one", NULL);
    t_same_int(seen.entry.dkim_count, 2);
    t_case("a long record is cut behind a whole address", NULL);
    t_same_int(history_record(bed_store, seen.mem, DAY, "example.org", seen.record_hash, &kept, &fail), 0);
    t_true(kept.n <= HISTORY_RECORD_MAX && kept.n > HISTORY_RECORD_MAX - 40);
    t_true(str_ends_same(kept, STR("mailto:b@example.org")));
}

static void test_marks(void **state)
{
    struct history_entry first = entry_from("192.0.2.1"), other = entry_from("192.0.2.2");

    (void)state;
    history.rows_max = 1;
    add_lot(&first, 3, 70);
    add_lot(&other, 2, 70);
    look();
    t_same_int(seen.messages, 3);
    t_same_int(seen.sums.left_out, 2);
    add_lot(&first, 3, 70);
    add_lot(&other, 2, 70);
    look();
    t_case("the same lot a second time, by its mark: nothing is added, also to what was left out", NULL);
    t_same_int(seen.messages, 3);
    t_same_int(seen.sums.left_out, 2);
    t_same_int(seen.sums.messages, 5);
    add_lot(&first, 1, 71);
    add_lot(&other, 1, HISTORY_MARK_END - 1);
    look();
    t_case("another mark is another lot", NULL);
    t_same_int(seen.messages, 4);
    t_same_int(seen.sums.left_out, 3);
    t_same_int(seen.sums.accepted, 7);
}

static void test_unavailable(void **state)
{
    struct history_entry e = entry_from("192.0.2.1");

    (void)state;
    store_close(&bed_store);
    bed_use_file("/nonexistent/state.db");
    bed_open_store();
    history_init(&history, bed_store, "mx1.example.net");
    t_case("a store that is away is a value", NULL);
    t_same_int(add_lot(&e, 1, 1), HISTORY_UNAVAILABLE);
}

/* ---- moving rows ---- */

static struct {
    struct str keys[100], values[100];
    size_t count;
    struct arena *mem;
} dump;

static bool on_dump(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    (void)expires_unix, (void)arg;
    dump.keys[dump.count] = str_copy(dump.mem, key);
    dump.values[dump.count++] = str_copy(dump.mem, value);
    return true;
}

static int news;

static void on_merge(enum store_status status, const void *result, void *arg)
{
    t_same_int(status, STORE_DONE);
    news += *(const bool *)result;
    if (--*(int *)arg == 0)
        loop_stop(bed_loop);
}

static int merge_all(void)
{
    int left = (int)dump.count;

    news = 0;
    for (size_t i = 0; i < dump.count; i++) {
        t_true(history_row_is_valid(dump.keys[i], dump.values[i]));
        history_merge(&history, bed_loop, dump.keys[i], dump.values[i], on_merge, &left);
    }
    loop_run(bed_loop);
    return news;
}

static void test_merge(void **state)
{
    struct history_entry shared = entry_from("192.0.2.1"), other = entry_from("192.0.2.2");
    struct fail fail;

    (void)state;
    dump.mem = arena_new(0);
    dump.count = 0;
    history_init(&history, bed_store, "mx2.example.net");
    add(&shared, 5);
    add(&other, 1);
    store_each(bed_store, history_table, STR(""), on_dump, NULL, &fail);
    store_close(&bed_store);
    unlink(bed_file);
    bed_open_store();
    history_init(&history, bed_store, "mx1.example.net");
    add(&shared, 2);
    t_case("another host's rows are added to ours", NULL);
    t_same_int(merge_all(), 4 - 1); /* the record is known */
    look();
    t_same_int(seen.rows, 2);
    t_same_int(seen.messages, 8);
    t_same_int(seen.sums.messages, 8);
    t_case("a second time changes nothing", NULL);
    t_same_int(merge_all(), 0);
    look();
    t_same_int(seen.messages, 8);
    t_same_int(seen.sums.messages, 8);
    t_case("more accepted than there are is not valid, nor is a key of another kind", NULL);
    t_true(history_row_is_valid(dump.keys[0], dump.values[0]));
    for (size_t octet = 0; octet < 16; octet += 15) {
        struct str value = str_copy(dump.mem, dump.values[0]);

        ((char *)value.p)[octet] = (char)(octet == 0 ? 1 : 6); /* 2^56 messages; 6 accepted of 5 */
        t_true(!history_row_is_valid(dump.keys[0], value));
    }
    t_case("what is no row of ours is not valid", NULL);
    t_true(!history_row_is_valid(dump.keys[0], dump.values[1]));
    t_true(!history_row_is_valid(dump.keys[0], STR("")));
    t_true(!history_row_is_valid(STR("x"), dump.values[0]));
    t_true(!history_row_is_valid(str_upto(dump.keys[0], dump.keys[0].n - 1), dump.values[0]));
    arena_free(&dump.mem);
}

static void test_set(void **state)
{
    struct history_entry e = entry_from("192.0.2.1");

    (void)state;
    set(&e, 77, 5);
    set(&e, 77, 5);
    look();
    t_case("a total of another program's counts once, however often it comes", NULL);
    t_same_int(seen.messages, 5);
    t_same_int(seen.sums.messages, 5);
    set(&e, 77, 9);
    set(&e, 78, 1);
    look();
    t_case("it grows with the program's own count, and other origins are added", NULL);
    t_same_int(seen.messages, 10);
    t_same_int(seen.sums.messages, 10);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_counting),
        ROW(test_cap),
        ROW(test_expiry),
        ROW(test_limits),
        ROW(test_marks),
        ROW(test_unavailable),
        ROW(test_merge),
        ROW(test_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
