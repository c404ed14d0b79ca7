/* A day's reports to a backend that the test plays: who gets one, who does not, and when a host dies. */
#include "report/daily.h"

#include "base/bug.h"
#include "report/lease.h"
#include "report/suppress.h"
#include "smtp/server.h"
#include "tests/fakedns.h"
#include "tests/store_bed.h"

#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DAY = 19675 };

/* ---- the backend ---- */

static struct {
    struct listener *listener;
    struct stream *stream;
    struct buf line;
    bool in_data;
    int mails, connections;
    char senders[64][128], recipients[64][128];
    struct buf data; /* of the last mail */
    const char *rcpt_reply, *end_reply, *greeting;
    bool closes_after_dot;
    char rcpt[128], sender[128];
} backend;

static void say(const char *text)
{
    struct iovec piece = {(void *)text, strlen(text)};

    stream_write(backend.stream, &piece, 1);
}

static void take_mail(void)
{
    snprintf(backend.senders[backend.mails], 128, "%s", backend.sender);
    snprintf(backend.recipients[backend.mails], 128, "%s", backend.rcpt);
    backend.mails++;
}

static void on_command(const char *line)
{
    if (strncmp(line, "EHLO", 4) == 0)
        say("250 backend\r\n");
    else if (strncmp(line, "MAIL", 4) == 0)
        snprintf(backend.sender, sizeof(backend.sender), "%s", line + 10), say("250 2.1.0 fine\r\n");
    else if (strncmp(line, "RCPT", 4) == 0)
        snprintf(backend.rcpt, sizeof(backend.rcpt), "%s", line + 8), say(backend.rcpt_reply);
    else if (strncmp(line, "DATA", 4) == 0)
        backend.in_data = true, buf_clear(&backend.data), say("354 go on\r\n");
    else
        say("221 bye\r\n");
}

static void on_line(const char *line)
{
    if (!backend.in_data) {
        on_command(line);
        return;
    }
    if (strcmp(line, ".") != 0) {
        buf_fmt(&backend.data, "%s\r\n", line[0] == '.' ? line + 1 : line);
        return;
    }
    backend.in_data = false;
    if (backend.end_reply[0] == '2')
        take_mail();
    if (backend.closes_after_dot)
        stream_close(&backend.stream);
    else
        say(backend.end_reply);
}

static void on_bytes(const char *bytes, size_t n, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < n && backend.stream != NULL; i++) {
        if (bytes[i] == '\r')
            continue;
        if (bytes[i] != '\n') {
            buf_add_char(&backend.line, bytes[i]);
            continue;
        }
        on_line(buf_z(&backend.line));
        buf_clear(&backend.line);
    }
}

static void on_gone(int error, void *arg)
{
    (void)error, (void)arg;
    stream_close(&backend.stream);
}

static void on_client(int fd, const struct endpoint *peer, void *arg)
{
    static const struct stream_events events = {NULL, on_bytes, NULL, on_gone};

    (void)peer, (void)arg;
    backend.connections++;
    backend.in_data = false;
    buf_clear(&backend.line);
    stream_close(&backend.stream);
    backend.stream = stream_accept(bed_loop, fd, 64 * 1024, &events, NULL);
    say(backend.greeting);
}

static struct endpoint start_backend(void)
{
    struct endpoint at = {0};
    struct sockaddr_in bound;
    socklen_t length = sizeof(bound);
    struct fail fail;
    int fd;

    ip_parse(STR("127.0.0.1"), &at.ip);
    fd = listener_bind(&at, &fail);
    t_same_int(getsockname(fd, (struct sockaddr *)&bound, &length), 0);
    at.port = ntohs(bound.sin_port);
    backend.listener = listener_start(bed_loop, fd, on_client, NULL);
    backend.greeting = "220 backend\r\n";
    backend.rcpt_reply = backend.end_reply = "250 2.0.0 fine\r\n";
    buf_init(&backend.line, 4096);
    buf_init(&backend.data, 16 * 1024 * 1024);
    return at;
}

/* ---- the bed ---- */

static struct fakedns *fake;
static struct history history;
static struct daily_settings settings;
static struct daily_result result;
static struct daily *daily;
static struct timer pump;
static enum daily_fate fates[512];
static char told[512][256], ids[512][80];
static int told_count, left, done_calls;
static int64_t day; /* that is counted and reported */
static char dry_dir[128];

static void on_pump(void *arg)
{
    (void)arg;
    fakedns_run(fake);
    timer_start(&pump, bed_loop, 1, on_pump, NULL);
}

static int set_up(void **state)
{
    memset(&backend, 0, sizeof(backend));
    memset(&result, 0, sizeof(result));
    told_count = done_calls = 0;
    day = DAY;
    daily = NULL;
    if (bed_set_up(state) != 0)
        return -1;
    bed_open_store();
    history_init(&history, bed_store, "mx1.example.net");
    fake = fakedns_new();
    fakedns_add_text(fake, "_dmarc.victim.test TXT \"v=DMARC1; p=none\"\n"
                           "ill.test RCODE servfail\n");
    settings = (struct daily_settings){.identity = {.org_name = "Us",
                                                    .email = "dmarc@reports.example.net",
                                                    .submitter = "reports.example.net",
                                                    .hostname = "mx1.example.net"},
                                       .max_bytes = 1024 * 1024,
                                       .daily_cap = 1000,
                                       .backend = start_backend(),
                                       .verp = true};
    return 0;
}

static int tear_down(void **state)
{
    timer_stop(&pump);
    daily_cancel(&daily);
    stream_close(&backend.stream);
    listener_stop(&backend.listener);
    buf_fini(&backend.line);
    buf_fini(&backend.data);
    fakedns_free(&fake);
    return bed_tear_down(state);
}

static void on_added(enum history_outcome outcome, void *arg)
{
    (void)arg;
    t_same_int(outcome, HISTORY_COUNTED);
    if (--left == 0)
        loop_stop(bed_loop);
}

static void add(const char *domain, const char *rua, int messages, bool accepted)
{
    static uint64_t mark;
    struct arena *lots = arena_new(0);
    struct history_lot lot;
    char record[600];
    struct history_entry e = {.day = day,
                              .policy_domain = domain,
                              .accepted = accepted,
                              .header_from = domain,
                              .envelope_from = domain,
                              .envelope_to = "example.net",
                              .spf_domain = domain,
                              .spf_scope = SPF_MFROM,
                              .spf_result = SPF_FAIL};

    ip_parse(STR("192.0.2.1"), &e.source);
    snprintf(record, sizeof(record), "v=DMARC1; p=none; rua=%s", rua);
    e.record = str_of(record);
    lot = history_lot_of(&history, lots, &e);
    lot.messages = (uint64_t)messages;
    lot.accepted = accepted ? lot.messages : 0;
    left = 1;
    history_add(&history, bed_loop, &lot, ++mark, on_added, NULL);
    loop_run(bed_loop);
    arena_free(&lots);
}

static void on_domain(const struct daily_domain *domain, void *arg)
{
    (void)arg;
    if (told_count == COUNT(fates))
        return; /* of a crowd only the sums matter */
    snprintf(told[told_count], sizeof(told[0]), "%s", domain->domain);
    snprintf(ids[told_count], sizeof(ids[0]), "%s", domain->report_id != NULL ? domain->report_id : "");
    fates[told_count++] = domain->fate;
}

static void on_done(const struct daily_result *got, const struct fail *fail, void *arg)
{
    (void)fail, (void)arg;
    done_calls++;
    result = *got;
    daily = NULL;
    loop_stop(bed_loop);
}

static void start(void)
{
    struct daily_ask ask = {bed_loop, fakedns_dns(fake), bed_store, &bed_clock, &settings, day,
                            NULL,     on_domain,         on_done,   NULL};

    told_count = 0;
    daily = daily_start(&ask);
    t_same_int(told_count + done_calls, 0);
    timer_start(&pump, bed_loop, 1, on_pump, NULL);
}

static void run(void)
{
    done_calls = 0;
    start();
    while (done_calls == 0)
        loop_run(bed_loop);
    t_same_int(done_calls, 1);
    t_true(!result.failed);
}

static const char *fate(const char *domain)
{
    for (int i = 0; i < told_count; i++)
        if (strcmp(told[i], domain) == 0)
            return daily_fate_name(fates[i]);
    return "not told";
}

/* ---- who gets one ---- */

static void test_who(void **state)
{
    (void)state;
    add("good.test", "mailto:d@good.test", 3, true);
    add("big.test", "mailto:d@big.test", 5, true);
    add("refused.test", "mailto:d@refused.test", 3, false);
    add("attacker.test", "mailto:box@victim.test", 3, true);
    add("web.test", "https://web.test/", 1, true);
    add("reports.example.net", "mailto:d@reports.example.net", 1, true);
    add("loop.test", "mailto:d@reports.example.net", 1, true);
    add("ill.test", "mailto:d@elsewhere.ill.test", 1, true);
    add("small.test", "mailto:d@small.test!10", 1, true);
    add("listed.test", "mailto:d@listed.test", 1, true);
    settings.suppress = (const char *const[]){"LISTED.test"};
    settings.suppress_count = 1;
    fakedns_add_text(fake, "ill.test._report._dmarc.elsewhere.ill.test RCODE timeout\n"
                           "loop.test._report._dmarc.reports.example.net TXT \"v=DMARC1\"\n");
    run();
    t_case("a domain that asks for it gets its report", NULL);
    t_same_z(fate("good.test"), "sent");
    t_same_int(backend.mails, 2);
    t_case("those with the most messages come first", NULL);
    t_same_z(told[0], "big.test");
    t_same_z(backend.recipients[1], "<d@good.test>");
    t_case("from a VERP sender", NULL);
    t_same_z(backend.senders[1], "<dmarc+d=good.test@reports.example.net>");
    t_case("nothing to a domain all of whose mail was refused", NULL);
    t_same_z(fate("refused.test"), "all-refused");
    t_case("nothing to a victim who did not consent", "9990 4");
    t_same_z(fate("attacker.test"), "no-destination");
    t_same_z(fate("web.test"), "no-destination");
    t_case("nothing about ourselves, and nothing to ourselves", NULL);
    t_same_z(fate("reports.example.net"), "ourselves");
    t_same_z(fate("loop.test"), "suppressed");
    t_case("trouble in the DNS: another time", NULL);
    t_same_z(fate("ill.test"), "later");
    t_case("too large for the only address", NULL);
    t_same_z(fate("small.test"), "too-large");
    t_case("suppressed by the settings", NULL);
    t_same_z(fate("listed.test"), "suppressed");
    t_same_int(result.domains, 10);
    t_case("a second run sends nothing", NULL);
    run();
    t_same_int(backend.mails, 2);
    t_same_z(fate("good.test"), "finished");
}

static void test_cap(void **state)
{
    (void)state;
    settings.daily_cap = 2;
    add("a.test", "mailto:d@a.test", 1, true);
    add("b.test", "mailto:d@b.test", 2, true);
    add("c.test", "mailto:d@c.test", 3, true);
    run();
    t_case("the cap leaves out those with the fewest messages", NULL);
    t_same_int(backend.mails, 2);
    t_same_z(fate("a.test"), "capped");
    t_same_int(result.fates[DAILY_CAPPED], 1);
    t_case("the next day goes on", NULL);
    bed_advance_s(86400);
    run();
    t_same_int(backend.mails, 3);
    t_same_z(fate("a.test"), "sent");
}

/* Of domains with as many messages, the cap takes other ones every day. */
static void test_turns(void **state)
{
    static const char *const domains[] = {"a.test", "b.test", "c.test", "d.test", "e.test"};
    char first[2][256];

    (void)state;
    settings.daily_cap = 1;
    for (int i = 0; i < 2; i++) {
        day = DAY + i;
        for (size_t k = 0; k < COUNT(domains); k++)
            add(domains[k], "mailto:dmarc@crowd.test", 1, true);
        run();
        snprintf(first[i], sizeof(first[i]), "%s", told[0]);
    }
    t_true(strcmp(first[0], first[1]) != 0);
}

/* ---- a crowd ---- */

static void add_crowd(int first, int count, const char *rua)
{
    char domain[64];

    for (int i = first; i < first + count; i++) {
        snprintf(domain, sizeof(domain), "crowd%d.test", i);
        add(domain, rua, 1, true);
    }
}

static void test_crowd(void **state)
{
    size_t asked;

    (void)state;
    settings.daily_cap = 3;
    add("a.test", "mailto:d@a.test", 9, true);
    add("b.test", "mailto:d@b.test", 9, true);
    add_crowd(0, 300, "mailto:d@victim.test");
    run();
    t_case("domains that are made up, with a victim's address: no mail to him, and bounded questions",
           "9990 4");
    t_same_int(backend.mails, 2);
    t_same_int(result.fates[DAILY_SENT], 2);
    t_same_int(result.fates[DAILY_NO_DESTINATION], DAILY_LOOKED_AT * 3 - 2);
    t_same_int(result.fates[DAILY_CAPPED], 300 - (DAILY_LOOKED_AT * 3 - 2));
    asked = fakedns_asked(fake);
    t_true(asked > 0 && asked <= 8 * DAILY_LOOKED_AT * 3);
    run();
    t_case("what was sent is not asked for again", NULL);
    t_same_int(backend.mails, 2);
    t_same_int(result.fates[DAILY_FINISHED], 2);
    t_same_int(result.fates[DAILY_NO_DESTINATION], DAILY_LOOKED_AT * 3);
    add("c.test", "mailto:d@c.test", 8, true);
    add("d.test", "mailto:d@d.test", 7, true);
    asked = fakedns_asked(fake);
    run();
    t_case("when the cap is reached nobody is asked any more", NULL);
    t_same_int(backend.mails, 3);
    t_same_z(fate("d.test"), "capped");
    t_same_int(result.fates[DAILY_CAPPED], 301);
    t_same_int(fakedns_asked(fake), asked);
}

/* As if these domains had had the same mail as `seed`. */
static void copy_rows(const char *seed, int count, const char *pattern)
{
    char sql[1000];

    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %d)"
             " INSERT INTO rows (tbl, key, value, expires, expires_hour)"
             " SELECT tbl, CAST(substr(key, 1, 4) || printf('%s', i) || substr(key, 5 + %zu) AS BLOB),"
             " value, expires, expires_hour FROM n, rows"
             " WHERE tbl = 'dmarc' AND substr(key, 5, %zu) = CAST('%s' AS BLOB)",
             count, pattern, strlen(seed), strlen(seed), seed);
    bed_change_file(sql);
}

enum { CROWD = DAILY_DOMAINS_MAX + DAILY_DOMAINS_MAX / 5 };

static void test_hundred_thousand(void **state)
{
    size_t asked;

    (void)state;
    fakedns_add_text(fake, "_dmarc.crowd.test TXT \"v=DMARC1; p=none\"\n");
    settings.daily_cap = 20;
    add("seed.crowd.test", "mailto:d@crowd.test", 1, true);
    copy_rows("seed.crowd.test", CROWD - 1, "d%06d.crowd.test");
    add("honest.test", "mailto:d@honest.test", 2, true);
    run();
    t_case("more than 100,000 names of one owner, all for his mailbox: as many mails as the cap says", NULL);
    t_same_int(result.domains, CROWD + 1);
    t_same_int(backend.mails, 20);
    t_same_int(result.fates[DAILY_SENT], 20);
    t_case("who has written more comes first", NULL);
    t_same_z(fate("honest.test"), "sent");
    t_case("no more than a known number of domains is held, and the others are counted", NULL);
    t_same_int(result.left_out, CROWD + 1 - DAILY_DOMAINS_MAX);
    t_same_int(result.fates[DAILY_CAPPED], DAILY_DOMAINS_MAX - 20);
    asked = fakedns_asked(fake);
    t_true(asked <= 8 * DAILY_LOOKED_AT * 20);
    bed_advance_s(3600);
    run();
    t_case("an hour later: no mail, and questions about one domain, until its lease says that it is enough",
           NULL);
    t_same_int(result.fates[DAILY_FINISHED], 20);
    t_same_int(backend.mails, 20);
    t_true(fakedns_asked(fake) <= asked + 8);
    bed_advance_s(86400);
    run();
    t_case("the next day has its own number of mails", NULL);
    t_same_int(backend.mails, 40);
    t_same_int(result.fates[DAILY_FINISHED], 20);
}

static void test_a_thousand_addresses(void **state)
{
    char rua[550] = "mailto:d@big.test!10g";

    (void)state;
    while (strlen(rua) < sizeof(rua) - 30)
        snprintf(rua + strlen(rua), sizeof(rua) - strlen(rua), ",mailto:d@victim.test");
    add("big.test", rua, 3, true);
    run();
    t_case("many addresses, one of which takes 10 GB: one mail, and questions for the first few", NULL);
    t_same_int(backend.mails, 1);
    t_same_int(result.fates[DAILY_SENT], 1);
    t_true(fakedns_asked(fake) <= 8 * DESTINATIONS_LOOKED_AT);
    t_true(backend.data.n < settings.max_bytes);
}

static void test_time(void **state)
{
    (void)state;
    add("a.test", "mailto:d@a.test", 1, true);
    start();
    bed_advance_s(DAILY_RUN_MS / 1000 + 1);
    done_calls = 0;
    while (done_calls == 0)
        loop_run(bed_loop);
    t_case("a run that takes too long ends, and the rest waits", NULL);
    t_same_int(backend.mails, 0);
    t_same_z(fate("a.test"), "capped");
}

static bool on_lease(const struct lease_row *row, void *arg)
{
    t_same_int(row->day, DAY);
    t_true(strcmp(row->domain, "a.test") == 0 || strcmp(row->domain, "b.test") == 0);
    *(int *)arg += row->finished && row->sent;
    return true;
}

static void test_status(void **state)
{
    uint64_t today = 99;
    struct fail fail;
    int seen = 0;

    (void)state;
    t_same_int(lease_count(bed_store, clock_unix(&bed_clock), &today, &fail), 0);
    t_same_int(today, 0);
    add("a.test", "mailto:d@a.test", 1, true);
    add("b.test", "mailto:d@b.test", 1, true);
    run();
    t_case("what was sent can be counted, of a day and of all", NULL);
    t_same_int(lease_count(bed_store, clock_unix(&bed_clock), &today, &fail), 0);
    t_same_int(today, 2);
    t_same_int(lease_each(bed_store, -1, on_lease, &seen, &fail), 0);
    t_same_int(seen, 2);
    t_same_int(lease_each(bed_store, DAY, on_lease, &seen, &fail), 0);
    t_same_int(seen, 4);
    t_same_int(lease_each(bed_store, DAY + 1, on_lease, &seen, &fail), 0);
    t_same_int(seen, 4);
}

/* ---- trouble ---- */

static void test_trouble(void **state)
{
    (void)state;
    add("good.test", "mailto:d@good.test", 1, true);
    t_case("no mail is sent while the backend has trouble, and the next run tries again", NULL);
    backend.greeting = "421 not now\r\n";
    run();
    t_same_z(fate("good.test"), "later");
    backend.greeting = "220 backend\r\n";
    backend.rcpt_reply = "451 4.3.0 not now\r\n";
    run();
    t_same_z(fate("good.test"), "later");
    backend.rcpt_reply = "250 2.1.5 fine\r\n";
    backend.end_reply = "452 4.3.1 full\r\n";
    run();
    t_same_z(fate("good.test"), "later");
    backend.end_reply = "hello?\r\n";
    run();
    t_same_z(fate("good.test"), "later");
    backend.end_reply = "250 2.0.0 fine\r\n";
    run();
    t_same_z(fate("good.test"), "sent");
    t_same_int(backend.mails, 1);
}

static void test_no_backend(void **state)
{
    (void)state;
    add("a.test", "mailto:d@a.test,mailto:e@a.test", 2, true);
    add("b.test", "mailto:d@b.test", 1, true);
    backend.greeting = "421 not now\r\n";
    t_case("a backend that cannot be reached is asked once a run, however often, and no report is given up",
           NULL);
    for (int i = 0; i < 2 * LEASE_ATTEMPTS; i++) {
        run();
        t_same_z(fate("a.test"), "later");
        t_same_z(fate("b.test"), "later");
        t_same_int(backend.connections, i + 1);
    }
    backend.greeting = "220 backend\r\n";
    run();
    t_same_z(fate("a.test"), "sent");
    t_same_z(fate("b.test"), "sent");
    t_same_int(backend.mails, 3);
}

static void test_refused(void **state)
{
    const char *why;
    struct arena *mem = arena_new(0);
    struct fail fail;

    (void)state;
    add("dead.test", "mailto:d@dead.test", 1, true);
    backend.rcpt_reply = "550 5.1.1 no such user\r\n";
    run();
    t_case("an address that refuses is not asked again for this report", NULL);
    t_same_z(fate("dead.test"), "refused");
    run();
    t_same_z(fate("dead.test"), "finished");
    t_same_int(backend.connections, 1);
    t_case("one refusal does not suppress it", NULL);
    t_same_int(suppress_find(bed_store, mem, "dead.test", "d@dead.test", &why, &fail), 0);
    arena_free(&mem);
}

static void test_attempts(void **state)
{
    (void)state;
    add("good.test", "mailto:d@good.test", 1, true);
    backend.rcpt_reply = "451 4.3.0 not now\r\n";
    for (int i = 0; i < LEASE_ATTEMPTS; i++) {
        run();
        t_same_z(fate("good.test"), "later");
    }
    run();
    t_case("a report is given up after some attempts", NULL);
    t_same_z(fate("good.test"), "finished");
}

static void test_two_addresses(void **state)
{
    (void)state;
    add("two.test", "mailto:a@two.test,mailto:b@two.test,mailto:c@two.test", 1, true);
    backend.end_reply = "452 4.3.1 full\r\n";
    run();
    backend.end_reply = "250 2.0.0 fine\r\n";
    run();
    t_case("two addresses, and not a third", "9990 3");
    t_same_int(backend.mails, 2);
    t_same_z(backend.recipients[0], "<a@two.test>");
    t_same_z(backend.recipients[1], "<b@two.test>");
}

/* ---- leases ---- */

static struct lease_answer answer;

static void on_claimed(enum store_status status, const void *got, void *arg)
{
    (void)arg;
    t_same_int(status, STORE_DONE);
    if (got != NULL && arg != NULL)
        answer = *(const struct lease_answer *)got;
    loop_stop(bed_loop);
}

/* As another host would. */
static struct lease other_host(const char *domain)
{
    return (struct lease){bed_store, bed_loop, 42, DAY, domain, bed_wall_s};
}

static void test_lease(void **state)
{
    struct lease lease = other_host("good.test");
    char first_id[80];

    (void)state;
    add("good.test", "mailto:a@good.test,mailto:b@good.test", 1, true);
    lease_claim(&lease, 1000, "mx9.example.net", on_claimed, &answer);
    loop_run(bed_loop);
    t_same_int(answer.state, LEASE_OURS);
    lease_served(&lease, "a@good.test", on_claimed, NULL);
    loop_run(bed_loop);
    run();
    t_case("what another host is at is left alone", NULL);
    t_same_z(fate("good.test"), "held");
    t_same_int(backend.mails, 0);
    t_case("when it has died, the rest is sent", NULL);
    bed_advance_s(LEASE_S + 1);
    run();
    t_same_z(fate("good.test"), "sent");
    t_same_int(backend.mails, 1);
    t_same_z(backend.recipients[0], "<b@good.test>");
    t_case("under the id that the first host gave it", NULL);
    snprintf(first_id, sizeof(first_id), "%s", ids[0]);
    bed_advance_s(10);
    settings.identity.hostname = "mx9.example.net";
    settings.dry_run_dir = dry_dir;
    snprintf(dry_dir, sizeof(dry_dir), "%s/dry", bed_folder);
    t_same_int(mkdir(dry_dir, 0700), 0);
    run();
    t_same_z(fate("good.test"), "written");
    t_same_z(ids[0], first_id);
    t_case("and a dry run writes a file, and sends nothing", NULL);
    t_same_int(backend.mails, 1);
    DIR *dir = opendir(dry_dir);
    int files = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.') {
            char path[600];

            snprintf(path, sizeof(path), "%s/%s", dry_dir, entry->d_name);
            t_same_int(unlink(path), 0);
            files++;
        }
    closedir(dir);
    t_same_int(files, 1);
}

/* The backend has taken the mail, and we died before the row was written: the second mail has the same id. */
static void test_same_id(void **state)
{
    char first[80];

    (void)state;
    add("good.test", "mailto:d@good.test", 1, true);
    backend.closes_after_dot = true;
    run();
    t_same_z(fate("good.test"), "later");
    snprintf(first, sizeof(first), "%s", ids[0]);
    backend.closes_after_dot = false;
    run();
    t_same_z(fate("good.test"), "sent");
    t_case("a report that is sent twice has one id", "9990 3.3");
    t_same_int(backend.mails, 2);
    t_same_z(ids[0], first);
    t_true(strstr(buf_z(&backend.data), first) != NULL);
}

static void test_cancel(void **state)
{
    (void)state;
    add("good.test", "mailto:d@good.test", 1, true);
    add("far.test", "mailto:d@victim.test", 1, true);
    for (int turns = 0; turns < 40; turns++) {
        start();
        for (int i = 0; i < turns && daily != NULL; i++) {
            loop_stop(bed_loop); /* one turn */
            loop_run(bed_loop);
            fakedns_run_one(fake);
        }
        done_calls = 0;
        daily_cancel(&daily);
        t_true(daily == NULL);
        timer_stop(&pump);
    }
    t_case("cancelled, it never calls back", NULL);
    t_same_int(done_calls, 0);
}

static void test_stop(void **state)
{
    (void)state;
    add("a.test", "mailto:d@a.test", 2, true);
    add("b.test", "mailto:d@b.test", 1, true);
    start();
    while (backend.connections == 0) {
        loop_stop(bed_loop); /* one turn */
        loop_run(bed_loop);
    }
    daily_stop(daily);
    while (done_calls == 0)
        loop_run(bed_loop);
    t_case("stopped, it ends with the mail that is on its way", NULL);
    t_same_int(result.fates[DAILY_SENT], 1);
    t_same_int(told_count, 1);
    run();
    t_case("and the next run goes on behind it", NULL);
    t_same_z(fate("a.test"), "finished");
    t_same_z(fate("b.test"), "sent");
    t_same_int(backend.mails, 2);
}

static void test_verp(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    t_case("VERP and back", NULL);
    t_same_z(send_verp(mem, "dmarc@r.test", "a=b@c.test"), "dmarc+a=b=c.test@r.test");
    t_same_z(send_verp_read(mem, "dmarc@r.test", STR("DMARC+a=b=c.test@R.test")), "a=b@c.test");
    t_case("too long: the null sender", NULL);
    t_same_z(send_verp(mem, "dmarc@r.test",
                       "someone@a-very-long-name.with-many-labels.and-more-of-them.example.test"),
             "");
    t_case("what is none of ours", NULL);
    t_true(send_verp_read(mem, "dmarc@r.test", STR("dmarc@r.test")) == NULL);
    t_true(send_verp_read(mem, "dmarc@r.test", STR("dmarc+x@r.test")) == NULL);
    t_true(send_verp_read(mem, "dmarc@r.test", STR("dmarc+a=c.test@x.test")) == NULL);
    t_true(send_verp_read(mem, "dmarc@r.test", STR("")) == NULL);
    arena_free(&mem);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_who),
        ROW(test_cap),
        ROW(test_turns),
        ROW(test_crowd),
        ROW(test_hundred_thousand),
        ROW(test_a_thousand_addresses),
        ROW(test_time),
        ROW(test_status),
        ROW(test_trouble),
        ROW(test_no_backend),
        ROW(test_refused),
        ROW(test_attempts),
        ROW(test_two_addresses),
        ROW(test_lease),
        ROW(test_same_id),
        ROW(test_cancel),
        ROW(test_stop),
        cmocka_unit_test(test_verp),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
