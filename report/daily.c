#include "report/daily.h"

#include "base/bug.h"
#include "base/hash.h"
#include "report/lease.h"
#include "report/mail.h"
#include "report/suppress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The life of one domain: destinations (DNS), lease, build, mail after mail, end of the lease. Each step ends
 * in the next one or in end_domain().
 */

struct candidate {
    char *domain;
    uint64_t messages, accepted;
    uint64_t turn;                /* among those with as many messages; another one every day */
    bool was_begun, was_finished; /* by its lease, before this run */
};

struct daily {
    struct daily_ask ask;
    struct daily_result result;
    struct fail fail;
    struct candidate *list;
    size_t count, room, next;

    struct arena *mem; /* of the domain at work; what follows is about it */
    const struct candidate *at;
    struct aggregate report;
    struct destination_query *query;
    struct destinations destinations;
    size_t mailing; /* the destination that is being served */
    unsigned delivered, refused, later, served_before;
    bool unclear; /* an address is left for the next run */
    struct lease_answer leased;
    struct buf gz, mail;
    struct send *send;
    const char *to;
    bool capped;     /* no more reports today */
    bool stopped;    /* no more domains in this run */
    bool no_backend; /* it cannot be reached: the next run */
    uint64_t looked; /* domains whose addresses were asked for */
    int64_t begun_ms;
    bool waits_for_store; /* the one wait that cannot be called off */
    bool cancelled;
    struct later again;
};

const char *daily_fate_name(enum daily_fate fate)
{
    static const char *const names[DAILY_FATES] = {
        "sent",      "written", "nothing", "all-refused", "ourselves", "suppressed", "no-destination",
        "too-large", "refused", "later",   "held",        "finished",  "capped"};

    return names[fate];
}

static bool is_dry(const struct daily *d)
{
    return d->ask.settings->dry_run_dir != NULL && d->ask.settings->dry_run_dir[0] != '\0';
}

static struct lease lease_of(const struct daily *d)
{
    return (struct lease){d->ask.store, d->ask.loop,   lease_holder(),
                          d->ask.day,   d->at->domain, clock_unix(d->ask.clock)};
}

/* ---- one domain ends, the next begins ---- */

static void next_domain(void *arg);

static void free_all(struct daily *d)
{
    for (size_t i = 0; i < d->count; i++)
        free(d->list[i].domain);
    free(d->list);
    arena_free(&d->mem);
    buf_fini(&d->gz);
    buf_fini(&d->mail);
    free(d);
}

static void end_domain(struct daily *d, enum daily_fate fate, const char *to)
{
    const struct daily_domain told = {d->at->domain, fate, d->at->messages, d->report.report_id, to};

    d->result.fates[fate]++;
    if (d->ask.on_domain != NULL)
        d->ask.on_domain(&told, d->ask.arg);
    later_start(&d->again, d->ask.loop, next_domain, d);
}

/* The store has answered. True: we were called off meanwhile, and the memory goes now. */
static bool is_called_off(struct daily *d)
{
    d->waits_for_store = false;
    if (!d->cancelled)
        return false;
    free_all(d);
    return true;
}

/* ---- mails ---- */

static void next_mail(struct daily *d);

static enum daily_fate fate_of(const struct daily *d)
{
    if (d->delivered + d->served_before > 0)
        return DAILY_SENT;
    if (d->later > 0)
        return DAILY_LATER;
    return d->refused > 0 ? DAILY_REFUSED : DAILY_TOO_LARGE;
}

static void on_lease_ended(enum store_status status, const void *result, void *arg)
{
    struct daily *d = arg;

    (void)status, (void)result;
    if (is_called_off(d))
        return;
    end_domain(d, fate_of(d), d->to);
}

static void end_mails(struct daily *d)
{
    struct lease lease = lease_of(d);
    bool is_untried = d->no_backend && d->delivered + d->refused == 0;

    d->waits_for_store = true;
    lease_end(&lease,
              is_untried                     ? LEASE_UNTRIED
              : d->later == 0 && !d->unclear ? LEASE_DONE
                                             : LEASE_AGAIN,
              on_lease_ended, d);
}

static void on_noted(enum store_status status, const void *result, void *arg)
{
    struct daily *d = arg;

    (void)status, (void)result;
    if (is_called_off(d))
        return;
    d->mailing++;
    next_mail(d);
}

static void on_learnt(enum store_status status, const void *result, void *arg)
{
    struct daily *d = arg;
    struct lease lease;

    (void)status, (void)result;
    if (is_called_off(d))
        return;
    lease = lease_of(d);
    d->waits_for_store = true;
    lease_served(&lease, d->destinations.list[d->mailing].address, on_noted, d);
}

static void on_sent(const struct send_outcome *outcome, void *arg)
{
    struct daily *d = arg;
    const char *address = d->destinations.list[d->mailing].address;
    bool was_refused = outcome->result == SEND_REFUSED || outcome->result == SEND_REJECTED;

    d->send = NULL;
    if (outcome->result == SEND_LATER) {
        d->later++;
        d->no_backend = !outcome->was_ready;
        d->to = str_fmt(d->mem, "%s%s%s: %s", d->to, d->to[0] != '\0' ? ", " : "", address, outcome->text);
        d->mailing++;
        next_mail(d);
        return;
    }
    d->delivered += !was_refused;
    d->refused += was_refused;
    d->to = str_fmt(d->mem, "%s%s%s%s%s", d->to, d->to[0] != '\0' ? ", " : "", address,
                    was_refused ? ": " : "", was_refused ? outcome->text : "");
    d->waits_for_store = true;
    suppress_learn(d->ask.store, d->ask.loop, address, was_refused, clock_unix(d->ask.clock), outcome->text,
                   on_learnt, d);
}

static bool was_served(const struct daily *d, const char *address)
{
    for (size_t i = 0; i < DESTINATIONS_MOST; i++)
        if (d->leased.served[i] == lease_address_hash(address))
            return true;
    return false;
}

static bool is_for_mail(struct daily *d, const struct destination *to)
{
    if (to->verdict != DESTINATION_GOOD)
        return false;
    if (was_served(d, to->address)) {
        d->served_before++;
        return false;
    }
    return to->size_max == 0 || d->gz.n <= to->size_max;
}

static void sign_mail(struct daily *d)
{
    const struct daily_settings *s = d->ask.settings;
    struct str fields = s->sign(d->mem, buf_str(&d->mail), s->sign_arg);
    struct buf signed_mail;

    buf_init(&signed_mail, d->mail.max + fields.n);
    buf_add_str(&signed_mail, fields);
    buf_add_str(&signed_mail, buf_str(&d->mail));
    signed_mail.max = d->mail.max;
    buf_fini(&d->mail);
    d->mail = signed_mail;
}

static void make_mail(struct daily *d, const char *address)
{
    const struct daily_settings *s = d->ask.settings;
    struct report_identity identity = s->identity;

    identity.bounces = d->leased.bounces;
    buf_clear(&d->mail);
    mail_aggregate(d->mem, &d->mail, &identity, address, d->at->domain, &d->report, buf_str(&d->gz),
                   clock_unix(d->ask.clock));
    if (d->mail.overflow)
        bug("a mail of more than %zu octets", d->mail.max);
    if (s->sign != NULL)
        sign_mail(d);
}

static void next_mail(struct daily *d)
{
    const struct daily_settings *s = d->ask.settings;
    const struct destination *to;
    struct send_ask ask;

    while (d->mailing < d->destinations.count && !is_for_mail(d, &d->destinations.list[d->mailing]))
        d->mailing++;
    if (d->mailing == d->destinations.count || d->no_backend) {
        end_mails(d);
        return;
    }
    to = &d->destinations.list[d->mailing];
    make_mail(d, to->address);
    ask = (struct send_ask){s->backend, s->identity.hostname,
                            s->verp ? send_verp(d->mem, s->identity.email, to->address) : "", to->address,
                            buf_str(&d->mail)};
    d->send = send_start(d->ask.loop, &ask, on_sent, d);
}

/* ---- the report itself ---- */

static enum aggregate_outcome build(struct daily *d, const char *named_by)
{
    struct report_identity identity = d->ask.settings->identity;
    struct aggregate_ask ask = {d->ask.store, d->ask.day, d->at->domain, d->ask.settings->format, &identity};

    identity.hostname = named_by;
    return aggregate_build(d->mem, &ask, &d->gz, &d->report, &d->fail);
}

static bool write_file(const char *path, struct str bytes)
{
    FILE *file = fopen(path, "w");
    bool well = file != NULL && fwrite(bytes.p, 1, bytes.n, file) == bytes.n;

    return file != NULL && fclose(file) == 0 && well;
}

static void write_dry(struct daily *d)
{
    const struct destination *to = d->destinations.list;
    const char *path;

    if (build(d, d->ask.settings->identity.hostname) != AGGREGATE_BUILT) {
        end_domain(d, DAILY_LATER, str_dup(d->mem, str_of(d->fail.text)));
        return;
    }
    path = str_fmt(d->mem, "%s/%s.eml", d->ask.settings->dry_run_dir, d->report.file_name);
    while (to->verdict != DESTINATION_GOOD)
        to++;
    make_mail(d, to->address);
    if (write_file(path, buf_str(&d->mail)))
        end_domain(d, DAILY_WRITTEN, path);
    else
        end_domain(d, DAILY_LATER, str_fmt(d->mem, "%s cannot be written", path));
}

static void on_leased(enum store_status status, const void *result, void *arg)
{
    static const enum daily_fate fates[] = {DAILY_SENT, DAILY_HELD, DAILY_FINISHED, DAILY_CAPPED};
    struct daily *d = arg;
    enum aggregate_outcome outcome;

    if (is_called_off(d))
        return;
    if (status != STORE_DONE) {
        end_domain(d, DAILY_LATER, "the store does not answer");
        return;
    }
    d->leased = *(const struct lease_answer *)result;
    d->capped |= d->leased.state == LEASE_CAPPED;
    if (d->leased.state != LEASE_OURS) {
        end_domain(d, fates[d->leased.state], "");
        return;
    }
    outcome = build(d, d->leased.named_by);
    if (outcome == AGGREGATE_BUILT) {
        next_mail(d);
        return;
    }
    d->later = 1; /* the lease ends, and the next run looks again */
    d->to =
        outcome == AGGREGATE_FAILED ? str_dup(d->mem, str_of(d->fail.text)) : "there is nothing to report";
    end_mails(d);
}

static void take_lease(struct daily *d)
{
    struct lease lease = lease_of(d);

    d->waits_for_store = true;
    lease_claim(&lease, d->ask.settings->daily_cap, d->ask.settings->identity.hostname, on_leased, d);
}

/* ---- where to ---- */

static bool in_settings(const struct daily *d, const char *address)
{
    return suppress_is_listed(d->ask.settings->suppress, d->ask.settings->suppress_count, d->at->domain,
                              address);
}

/* Good ones that are suppressed, or that are ourselves, are surplus. */
static void look_at_destination(struct daily *d, struct destination *to)
{
    const char *why;
    int suppressed = 0;

    if (to->verdict == DESTINATION_GOOD)
        suppressed = suppress_find(d->ask.store, d->mem, d->at->domain, to->address, &why, &d->fail);
    d->unclear |= to->verdict == DESTINATION_TEMPERROR || suppressed < 0;
    if (suppressed != 0 ||
        (to->verdict == DESTINATION_GOOD &&
         (strcmp(to->host, d->ask.settings->identity.submitter) == 0 || in_settings(d, to->address))))
        to->verdict = DESTINATION_SURPLUS;
}

static void on_destinations(const struct destinations *found, void *arg)
{
    struct daily *d = arg;
    struct destination *list = arena_copy(d->mem, found->list, found->count * sizeof(*list));
    size_t good = 0, suppressed = 0;

    d->query = NULL;
    for (size_t i = 0; i < found->count; i++) {
        bool was_good = list[i].verdict == DESTINATION_GOOD;

        look_at_destination(d, &list[i]);
        good += list[i].verdict == DESTINATION_GOOD;
        suppressed += was_good && list[i].verdict != DESTINATION_GOOD;
    }
    d->destinations = (struct destinations){found->count, list};
    if (good == 0)
        end_domain(d,
                   d->unclear       ? DAILY_LATER
                   : suppressed > 0 ? DAILY_SUPPRESSED
                                    : DAILY_NO_DESTINATION,
                   "");
    else if (is_dry(d))
        write_dry(d);
    else
        take_lease(d);
}

/* The record that most messages were judged by says where to. */
static void find_destinations(struct daily *d)
{
    const struct daily_settings *s = d->ask.settings;
    struct aggregate_ask ask = {d->ask.store, d->ask.day, d->at->domain, s->format, &s->identity};
    enum aggregate_outcome outcome = aggregate_look(d->mem, &ask, &d->report, &d->fail);

    d->looked++;
    if (outcome == AGGREGATE_BUILT)
        d->query = destination_start(d->mem, d->ask.loop, d->ask.dns, d->at->domain, d->report.record->rua,
                                     d->report.record->rua_count, on_destinations, d);
    else if (outcome == AGGREGATE_NOTHING)
        end_domain(d, DAILY_NOTHING, "");
    else
        end_domain(d, DAILY_LATER, str_dup(d->mem, str_of(d->fail.text)));
}

/* ---- which domains ---- */

/* Whoever makes up domains, and answers for them slowly or never, must not keep us busy for days. */
static bool is_enough(const struct daily *d)
{
    uint64_t cap = d->ask.settings->daily_cap;

    return d->capped || d->result.fates[DAILY_WRITTEN] >= cap || d->looked >= DAILY_LOOKED_AT * cap ||
           clock_mono_ms(d->ask.clock) - d->begun_ms > DAILY_RUN_MS;
}

/* What costs no question of the DNS, and none of the store: most of a crowd ends here. */
static bool is_over(struct daily *d)
{
    const struct candidate *c = d->at;

    if (c->was_finished)
        end_domain(d, DAILY_FINISHED, "");
    else if (is_enough(d) && !c->was_begun)
        end_domain(d, DAILY_CAPPED, "");
    else if (c->accepted == 0)
        end_domain(d, DAILY_ALL_REFUSED, "");
    else if (strcmp(c->domain, d->ask.settings->identity.submitter) == 0)
        end_domain(d, DAILY_OURSELVES, "");
    else if (d->no_backend)
        end_domain(d, DAILY_LATER, "the backend cannot be reached");
    else
        return false;
    return true;
}

static void begin_domain(struct daily *d)
{
    const char *why = "";
    int suppressed;

    if (is_over(d))
        return;
    suppressed = suppress_find(d->ask.store, d->mem, d->at->domain, NULL, &why, &d->fail);
    if (suppressed < 0)
        end_domain(d, DAILY_LATER, str_dup(d->mem, str_of(d->fail.text)));
    else if (suppressed > 0 || in_settings(d, NULL))
        end_domain(d, DAILY_SUPPRESSED, why);
    else
        find_destinations(d);
}

static void next_domain(void *arg)
{
    struct daily *d = arg;

    if (d->result.failed || d->stopped || d->next == d->count) {
        struct daily_ask ask = d->ask;
        struct daily_result result = d->result;
        struct fail fail = d->fail;

        free_all(d);
        ask.done(&result, &fail, ask.arg);
        return;
    }
    arena_reset(d->mem);
    d->at = &d->list[d->next++];
    d->report = (struct aggregate){0};
    d->destinations = (struct destinations){0};
    d->leased = (struct lease_answer){0};
    d->mailing = 0;
    d->delivered = d->refused = d->later = d->served_before = 0;
    d->unclear = false;
    d->to = "";
    begin_domain(d);
}

/* ---- the list ---- */

enum { LIST_MAX = DAILY_DOMAINS_MAX + DAILY_DOMAINS_MAX / 10 };

static int by_messages(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->messages != y->messages)
        return x->messages > y->messages ? -1 : 1;
    return x->turn < y->turn ? -1 : x->turn > y->turn;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct candidate *)a)->domain, ((const struct candidate *)b)->domain);
}

static void sort(struct daily *d, int (*order)(const void *, const void *))
{
    if (d->count > 0)
        qsort(d->list, d->count, sizeof(*d->list), order);
}

/* Those with the fewest messages go: names that somebody has made up do not push out the others. */
static void trim(struct daily *d)
{
    if (d->count <= DAILY_DOMAINS_MAX)
        return;
    sort(d, by_messages);
    while (d->count > DAILY_DOMAINS_MAX) {
        free(d->list[--d->count].domain);
        d->result.left_out++;
    }
}

static bool on_domain(int64_t day, const char *domain, const struct history_sums *sums, void *arg)
{
    struct daily *d = arg;

    d->result.domains++;
    if (d->ask.only != NULL && !str_same_z(str_of(domain), d->ask.only))
        return true;
    if (d->count == LIST_MAX)
        trim(d);
    if (d->count == d->room) {
        d->room = d->room > 0 ? 2 * d->room : 16;
        d->list = realloc(d->list, d->room * sizeof(*d->list));
        if (d->list == NULL)
            out_of_memory();
    }
    d->list[d->count] = (struct candidate){.domain = strdup(domain),
                                           .messages = sums->messages,
                                           .accepted = sums->accepted,
                                           .turn = hash_stable(domain, strlen(domain), (uint64_t)day)};
    if (d->list[d->count++].domain == NULL)
        out_of_memory();
    return true;
}

static bool on_lease_seen(const struct lease_row *row, void *arg)
{
    struct daily *d = arg;
    const struct candidate wanted = {.domain = (char *)row->domain};
    struct candidate *found =
        d->count > 0 ? bsearch(&wanted, d->list, d->count, sizeof(*d->list), by_name) : NULL;

    if (found != NULL) {
        found->was_begun = true;
        found->was_finished = row->finished;
    }
    return true;
}

/* Two walks through the store, however many domains there are. */
static int make_list(struct daily *d)
{
    if (history_each_domain(d->ask.store, d->ask.day, on_domain, d, &d->fail) != 0)
        return -1;
    trim(d);
    sort(d, by_name);
    if (!is_dry(d) && lease_each(d->ask.store, d->ask.day, on_lease_seen, d, &d->fail) != 0)
        return -1;
    sort(d, by_messages);
    return 0;
}

struct daily *daily_start(const struct daily_ask *ask)
{
    struct daily *d = calloc(1, sizeof(*d));

    if (d == NULL)
        out_of_memory();
    d->ask = *ask;
    d->begun_ms = clock_mono_ms(ask->clock);
    d->mem = arena_new(64 * 1024);
    buf_init(&d->gz, ask->settings->max_bytes);
    buf_init(&d->mail, ask->settings->max_bytes / 57 * 78 + 16 * 1024);
    d->result.failed = make_list(d) != 0;
    later_start(&d->again, ask->loop, next_domain, d);
    return d;
}

void daily_stop(struct daily *daily)
{
    daily->stopped = true;
}

/* An answer of the store may be on its way: then the last of the memory goes when it comes. */
void daily_cancel(struct daily **daily)
{
    struct daily *d = *daily;

    *daily = NULL;
    if (d == NULL)
        return;
    later_cancel(&d->again);
    destination_cancel(&d->query);
    send_cancel(&d->send);
    d->cancelled = true;
    if (!d->waits_for_store)
        free_all(d);
}
