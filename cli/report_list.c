#include "cli/report.h"

#include "base/json.h"
#include "report/lease.h"

#include <inttypes.h>
#include <stdio.h>

enum { LINE_MAX_BYTES = 64 * 1024 };

struct listing {
    struct cli_report *report;
    struct buf out;
    struct json json;
    struct lease_row lease; /* of the domain that is being listed */
    bool has_lease;
    uint64_t count;
};

static bool on_lease(const struct lease_row *row, void *arg)
{
    struct listing *l = arg;

    l->lease = *row;
    l->has_lease = true;
    return false;
}

static const char *state_of(struct listing *l, int64_t day, const char *domain)
{
    struct fail fail;

    l->has_lease = false;
    if (lease_find(l->report->store, day, domain, on_lease, l, &fail) != 0 || !l->has_lease)
        return "-";
    if (!l->lease.finished)
        return "pending";
    return l->lease.sent ? "sent" : "given-up";
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
    outcome = history_each_domain(r->store, r->options.day, on_domain, &l, &fail);
    if (r->options.json) {
        json_array_end(&l.json);
        json_object_end(&l.json);
        puts(buf_z(&l.out));
    }
    buf_fini(&l.out);
    if (outcome != 0)
        fprintf(stderr, "smtpguard report list: %s\n", fail.text);
    return outcome != 0 ? CLI_UNREACHABLE : l.count > 0 ? CLI_FINE : CLI_NO;
}

int cli_report_list(int argc, char **argv)
{
    return cli_report_run("report list", argc, argv, 0, list);
}
