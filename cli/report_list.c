#include "cli/report.h"

#include "base/bug.h"
#include "base/json.h"
#include "report/lease.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 64 * 1024 };

struct listing {
    struct cli_report *report;
    struct buf out;
    struct json json;
    struct lease_row *leases; /* in the order of the domains */
    size_t leases_count, leases_room, lease;
    uint64_t count;
};

static bool on_lease(const struct lease_row *row, void *arg)
{
    struct listing *l = arg;

    if (l->leases_count == l->leases_room) {
        l->leases_room = l->leases_room > 0 ? 2 * l->leases_room : 64;
        l->leases = realloc(l->leases, l->leases_room * sizeof(*l->leases));
        if (l->leases == NULL)
            out_of_memory();
    }
    l->leases[l->leases_count] = *row;
    l->leases[l->leases_count++].domain = str_dup(l->report->lookup.mem, str_of(row->domain));
    return true;
}

static bool is_before(const struct lease_row *lease, int64_t day, const char *domain)
{
    return lease->day != day ? lease->day < day : strcmp(lease->domain, domain) < 0;
}

static const char *state_of(struct listing *l, int64_t day, const char *domain)
{
    const struct lease_row *lease;

    while (l->lease < l->leases_count && is_before(&l->leases[l->lease], day, domain))
        l->lease++;
    lease = &l->leases[l->lease];
    if (l->lease == l->leases_count || lease->day != day || strcmp(lease->domain, domain) != 0)
        return "-";
    if (!lease->finished)
        return "pending";
    return lease->sent ? "sent" : "given-up";
}

static void list_json(struct listing *l, const char *date, const char *domain, const struct history_sums *s,
                      const char *state)
{
    struct json *j = &l->json;

    json_object(j);
    json_put_z(j, "day", date);
    json_put_z(j, "domain", domain);
    json_put_int(j, "messages", (int64_t)s->messages);
    json_put_int(j, "rows", (int64_t)s->rows);
    json_put_int(j, "accepted", (int64_t)s->accepted);
    json_put_int(j, "passed", (int64_t)s->passed);
    json_put_int(j, "left_out", (int64_t)s->left_out);
    json_put_z(j, "state", state);
    json_object_end(j);
    fwrite(l->out.p, 1, l->out.n, stdout); /* it goes out as it comes */
    buf_clear(&l->out);
}

static bool on_domain(int64_t day, const char *domain, const struct history_sums *s, void *arg)
{
    struct listing *l = arg;
    char date[HISTORY_DATE_MAX];
    const char *state = state_of(l, day, domain);

    history_date(day, date);
    if (l->report->options.json) {
        list_json(l, date, domain, s, state);
    } else {
        if (l->count == 0)
            printf("%-10s %9s %7s %9s %9s %9s %-8s %s\n", "day", "messages", "rows", "accepted", "passed",
                   "left out", "state", "domain");
        printf("%-10s %9" PRIu64 " %7" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %-8s ", date,
               s->messages, s->rows, s->accepted, s->passed, s->left_out, state);
        cli_print(str_of(domain));
        putchar('\n');
    }
    l->count++;
    return true;
}

static int list(struct cli_report *r)
{
    struct listing l = {.report = r};
    struct fail fail;
    int outcome;

    buf_init(&l.out, LINE_MAX_BYTES);
    json_init(&l.json, &l.out);
    if (r->options.json) {
        json_object(&l.json);
        json_key(&l.json, "domains");
        json_array(&l.json);
    }
    outcome = lease_each(r->store, r->options.day, on_lease, &l, &fail);
    if (outcome == 0)
        outcome = history_each_domain(r->store, r->options.day, on_domain, &l, &fail);
    if (r->options.json) {
        json_array_end(&l.json);
        json_object_end(&l.json);
        puts(buf_z(&l.out));
    }
    buf_fini(&l.out);
    free(l.leases);
    if (outcome != 0)
        fprintf(stderr, "smtpguard report list: %s\n", fail.text);
    return outcome != 0 ? CLI_UNREACHABLE : l.count > 0 ? CLI_FINE : CLI_NO;
}

int cli_report_list(int argc, char **argv)
{
    return cli_report_run("report list", argc, argv, 0, list);
}
