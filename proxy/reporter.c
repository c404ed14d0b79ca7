#include "proxy/reporter.h"

#include "base/bug.h"
#include "base/metric.h"
#include "proxy/signing.h"
#include "report/daily.h"
#include "report/history.h"
#include "report/schedule.h"
#include "smtp/address.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOOK_MS = 5000, COUNTED_MS = 100, COUNTED_MAX_MS = 60 * 1000, STOP_MS = 5000 };

struct reporter {
    struct store *store;
    struct journal *journal;
    struct loop *loop;
    pthread_t thread;
    struct metric *fates[DAILY_FATES];

    /* What the settings say; config is NULL while there are no reports. */
    const struct config *config;
    struct dkim_keyring *keyring; /* NULL: nothing is signed */
    struct dns *dns;
    struct arena *mem;
    struct daily_settings settings;

    struct schedule schedule;
    int64_t day; /* that is reported as soon as the journal has counted up to `ticket` */
    uint64_t ticket;
    int64_t waits_until_ms;
    struct timer look;
    struct daily *daily;
    bool stops;
    struct order *order; /* new settings, which hold when `daily` has ended */
};

struct order {
    struct reporter *reporter;
    const struct config *config;
    struct dkim_keyring *keyring;
};

static int64_t now_unix(void)
{
    return clock_unix(clock_system());
}

static int64_t now_mono_ms(void)
{
    return clock_mono_ms(clock_system());
}

static void on_domain(const struct daily_domain *domain, void *arg)
{
    struct reporter *r = arg;
    struct log_line line;

    metric_add(r->fates[domain->fate], 1);
    log_line_begin(&line, domain->fate == DAILY_SENT || domain->fate == DAILY_REFUSED ? LOG_INFO : LOG_DEBUG,
                   NULL, "report");
    log_put_z(&line, "action", daily_fate_name(domain->fate));
    log_put_z(&line, "domain", domain->domain);
    log_put_int(&line, "messages", (int64_t)domain->messages);
    log_put_z(&line, "report_id", domain->report_id);
    log_put_z(&line, "to", domain->to);
    log_line_end(&line);
}

/* Of older days, which are nearly always through already, only what was done. */
static void log_day(const struct reporter *r, const struct daily_result *result)
{
    uint64_t sent = result->fates[DAILY_SENT] + result->fates[DAILY_WRITTEN];
    char date[HISTORY_DATE_MAX];

    if (sent == 0 && r->schedule.day < r->schedule.newest)
        return;
    log_note(LOG_INFO, "reports",
             "%s: %llu of %llu domains were sent their report; %llu are left for later, %llu are beyond the "
             "daily cap",
             history_date(r->schedule.day, date), (unsigned long long)sent,
             (unsigned long long)result->domains,
             (unsigned long long)(result->fates[DAILY_LATER] + result->fates[DAILY_HELD]),
             (unsigned long long)(result->fates[DAILY_CAPPED] + result->left_out));
}

static void on_look(void *arg);
static void obey(struct reporter *r);
static void stop(struct reporter *r);

static void on_done(const struct daily_result *result, const struct fail *fail, void *arg)
{
    struct reporter *r = arg;
    bool is_left = result->failed || result->fates[DAILY_LATER] > 0 || result->fates[DAILY_HELD] > 0;

    r->daily = NULL;
    if (result->failed)
        log_note(LOG_ERROR, "reports.failed", "%s; tried again in an hour", fail->text);
    else
        log_day(r, result);
    schedule_done(&r->schedule, is_left, now_mono_ms());
    if (r->stops)
        stop(r);
    else if (r->order != NULL)
        obey(r);
    else
        timer_start(&r->look, r->loop, 0, on_look, r);
}

/* A journal that cannot be counted for so long has an owner elsewhere, or a store that will not be read either. */
static void begin_day(void *arg)
{
    struct reporter *r = arg;
    struct daily_ask ask = {.loop = r->loop,
                            .dns = r->dns,
                            .store = r->store,
                            .clock = clock_system(),
                            .settings = &r->settings,
                            .day = r->day,
                            .on_domain = on_domain,
                            .done = on_done,
                            .arg = r};

    if (journal_has_counted(r->journal, r->ticket) || now_mono_ms() >= r->waits_until_ms)
        r->daily = daily_start(&ask);
    else
        timer_start(&r->look, r->loop, COUNTED_MS, begin_day, r);
}

/* A timer until the set time would not hear of a clock that is put forward or back meanwhile. */
static void on_look(void *arg)
{
    struct reporter *r = arg;

    r->day = schedule_next(&r->schedule, now_unix(), now_mono_ms());
    if (r->day == SCHEDULE_NO_DAY) {
        timer_start(&r->look, r->loop, LOOK_MS, on_look, r);
        return;
    }
    r->ticket = journal_ticket(r->journal);
    r->waits_until_ms = now_mono_ms() + COUNTED_MAX_MS;
    begin_day(r);
}

static struct str sign_report(struct arena *mem, struct str mail, void *arg)
{
    struct reporter *r = arg;

    return signing_whole(mem, r->keyring, &r->config->signing, mail, now_unix());
}

static void make_settings(struct reporter *r)
{
    const struct report_settings *s = &r->config->reports;
    struct smtp_address from;

    if (!smtp_mailbox_parse(str_of(s->from), false, &from))
        bug("reports.from was not checked");
    r->settings = (struct daily_settings){
        .identity = {.org_name = s->org_name,
                     .email = s->from,
                     .submitter = str_dup_lower(r->mem, from.domain),
                     .hostname = r->config->hostname},
        .format = s->format == REPORT_RFC9990 ? AGGREGATE_RFC9990 : AGGREGATE_RFC7489,
        .max_bytes = s->max_bytes,
        .daily_cap = s->daily_cap,
        .backend = config_report_backend(r->config)->endpoint,
        .verp = true,
        .dry_run_dir = s->dry_run_dir,
        .suppress = s->suppress,
        .suppress_count = s->suppress_count,
        .sign = r->keyring != NULL ? sign_report : NULL,
        .sign_arg = r,
    };
}

/* ---- settings that come and go ---- */

static void drop_settings(struct reporter *r)
{
    timer_stop(&r->look);
    if (r->dns != NULL)
        resolver_free(&r->dns);
    arena_free(&r->mem);
    dkim_keyring_unref(&r->keyring);
    config_unref(&r->config);
}

static void drop_order(struct order **order)
{
    if (*order == NULL)
        return;
    dkim_keyring_unref(&(*order)->keyring);
    config_unref(&(*order)->config);
    free(*order);
    *order = NULL;
}

/* At the start, too, whatever of the last days was not sent yet is due. What was sent is known by its lease. */
static void obey(struct reporter *r)
{
    struct fail fail;

    drop_settings(r);
    r->config = config_ref(r->order->config);
    r->keyring = r->order->keyring != NULL ? dkim_keyring_ref(r->order->keyring) : NULL;
    drop_order(&r->order);
    if (!r->config->reports.aggregate)
        return;
    r->dns = resolver_new(r->loop, &r->config->dns, &fail);
    if (r->dns == NULL) {
        log_note(LOG_ERROR, "reports.stopped", "%s", fail.text);
        return;
    }
    r->mem = arena_new(0);
    make_settings(r);
    schedule_init(&r->schedule, r->config->reports.at_s);
    timer_start(&r->look, r->loop, 0, on_look, r);
}

/* A mail that is on its way is waited for: called off, it might go out twice. */
static void on_order(void *arg)
{
    struct order *order = arg;
    struct reporter *r = order->reporter;

    drop_order(&r->order);
    r->order = order;
    if (r->daily != NULL)
        daily_stop(r->daily);
    else
        obey(r);
}

void reporter_change(struct reporter *reporter, const struct config *config, struct dkim_keyring *keyring)
{
    struct order *order = calloc(1, sizeof(*order));

    if (order == NULL)
        out_of_memory();
    *order = (struct order){reporter, config_ref(config), keyring != NULL ? dkim_keyring_ref(keyring) : NULL};
    loop_post(reporter->loop, on_order, order);
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    struct reporter *r = arg;
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    loop_run(r->loop);
    return NULL;
}

struct reporter *reporter_start(struct store *store, struct journal *journal)
{
    struct reporter *r = calloc(1, sizeof(*r));

    if (r == NULL)
        out_of_memory();
    r->store = store;
    r->journal = journal;
    r->loop = loop_new();
    for (int i = 0; i < DAILY_FATES; i++) {
        char label[64];

        snprintf(label, sizeof(label), "result=\"%s\"", daily_fate_name((enum daily_fate)i));
        r->fates[i] = metric_counter("smtpguard_reports_total",
                                     "Domains at report time, by what became of their report.", label);
    }
    if (pthread_create(&r->thread, NULL, run, r) != 0)
        out_of_memory();
    return r;
}

static void stop(struct reporter *r)
{
    drop_order(&r->order);
    drop_settings(r);
    loop_stop(r->loop);
}

static void on_late(void *arg)
{
    struct reporter *r = arg;

    daily_cancel(&r->daily);
    stop(r);
}

static void on_stop(void *arg)
{
    struct reporter *r = arg;

    r->stops = true;
    if (r->daily == NULL) {
        stop(r);
        return;
    }
    daily_stop(r->daily);
    timer_start(&r->look, r->loop, STOP_MS, on_late, r);
}

void reporter_stop(struct reporter *reporter)
{
    if (reporter == NULL)
        return;
    loop_post(reporter->loop, on_stop, reporter);
    pthread_join(reporter->thread, NULL);
}

void reporter_free(struct reporter **reporter)
{
    if (*reporter != NULL)
        loop_free(&(*reporter)->loop);
    free(*reporter);
    *reporter = NULL;
}
