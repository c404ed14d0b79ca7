#include "cli/report.h"

#include "base/json.h"
#include "report/lease.h"
#include "report/suppress.h"

#include <inttypes.h>
#include <stdio.h>

/* Day by day: what was counted, and what became of its reports. The store forgets counts after two weeks and
 * what was sent after four, so there are few days. */
enum { DAYS_MOST = 64, STATUS_BYTES_MAX = 64 * 1024 };

struct day {
    int64_t day;
    uint64_t domains, messages, accepted;
    uint64_t sent, pending, given_up;
};

struct status {
    struct day days[DAYS_MOST];
    size_t count;
    uint64_t today; /* reports begun */
    uint64_t suppressed;
};

/* Both walks come in the order of days, but a day may be in one of them only. NULL: too many days. */
static struct day *find_day(struct status *s, int64_t day)
{
    size_t place = 0;

    while (place < s->count && s->days[place].day < day)
        place++;
    if (place < s->count && s->days[place].day == day)
        return &s->days[place];
    if (s->count == DAYS_MOST)
        return NULL;
    for (size_t i = s->count++; i > place; i--)
        s->days[i] = s->days[i - 1];
    s->days[place] = (struct day){.day = day};
    return &s->days[place];
}

static bool on_domain(int64_t day, const char *domain, const struct history_sums *sums, void *arg)
{
    struct day *d = find_day(arg, day);

    (void)domain;
    if (d == NULL)
        return false;
    d->domains++;
    d->messages += sums->messages;
    d->accepted += sums->accepted;
    return true;
}

static bool on_lease(const struct lease_row *row, void *arg)
{
    struct day *d = find_day(arg, row->day);

    if (d == NULL)
        return false;
    if (!row->finished)
        d->pending++;
    else if (row->sent)
        d->sent++;
    else
        d->given_up++;
    return true;
}

static bool on_suppressed(const struct suppress_row *row, void *arg)
{
    ((struct status *)arg)->suppressed += suppress_holds(row);
    return true;
}

static int look(struct cli_report *r, struct status *s)
{
    struct fail fail;

    if (history_each_domain(r->store, r->options.day, on_domain, s, &fail) == 0 &&
        lease_each(r->store, r->options.day, on_lease, s, &fail) == 0 &&
        lease_count(r->store, clock_unix(clock_system()), &s->today, &fail) == 0 &&
        suppress_each(r->store, on_suppressed, s, &fail) == 0)
        return CLI_FINE;
    fprintf(stderr, "smtpguard report status: %s\n", fail.text);
    return CLI_UNREACHABLE;
}

/* ---- telling ---- */

/* What the daemon does with these settings. */
static const char *sending(const struct report_settings *settings)
{
    if (!settings->aggregate)
        return "off";
    return settings->dry_run_dir != NULL && settings->dry_run_dir[0] != '\0' ? "dry-run" : "on";
}

static void tell_text(const struct report_settings *settings, const struct status *s)
{
    int64_t at_min = settings->at_s / 60;
    char date[HISTORY_DATE_MAX];

    printf("aggregate reports %s, daily at %02d:%02d UTC; %" PRIu64 " of %u begun today, %" PRIu64
           " addresses or domains suppressed\n",
           sending(settings), (int)(at_min / 60), (int)(at_min % 60), s->today, settings->daily_cap,
           s->suppressed);
    if (s->count > 0)
        printf("%-10s %9s %9s %9s %9s %9s %9s\n", "day", "domains", "messages", "accepted", "sent", "pending",
               "given up");
    for (size_t i = 0; i < s->count; i++) {
        const struct day *d = &s->days[i];

        printf("%-10s %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 "\n",
               history_date(d->day, date), d->domains, d->messages, d->accepted, d->sent, d->pending,
               d->given_up);
    }
}

static void put_day(struct json *j, const struct day *d)
{
    char date[HISTORY_DATE_MAX];

    json_object(j);
    json_put_z(j, "day", history_date(d->day, date));
    json_put_int(j, "domains", (int64_t)d->domains);
    json_put_int(j, "messages", (int64_t)d->messages);
    json_put_int(j, "accepted", (int64_t)d->accepted);
    json_put_int(j, "sent", (int64_t)d->sent);
    json_put_int(j, "pending", (int64_t)d->pending);
    json_put_int(j, "given_up", (int64_t)d->given_up);
    json_object_end(j);
}

static void tell_json(const struct report_settings *settings, const struct status *s)
{
    struct buf out;
    struct json j;

    buf_init(&out, STATUS_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    json_put_z(&j, "sending", sending(settings));
    json_put_int(&j, "today", (int64_t)s->today);
    json_put_int(&j, "daily_cap", settings->daily_cap);
    json_put_int(&j, "suppressed", (int64_t)s->suppressed);
    json_key(&j, "days");
    json_array(&j);
    for (size_t i = 0; i < s->count; i++)
        put_day(&j, &s->days[i]);
    json_array_end(&j);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

static int tell(struct cli_report *r)
{
    const struct report_settings *settings = &r->lookup.config->reports;
    struct status s = {0};
    int code = look(r, &s);

    if (code != CLI_FINE)
        return code;
    if (r->options.json)
        tell_json(settings, &s);
    else
        tell_text(settings, &s);
    return CLI_FINE;
}

int cli_report_status(int argc, char **argv)
{
    return cli_report_run("report status", argc, argv, 0, tell);
}
