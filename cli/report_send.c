#include "cli/report.h"

#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>

enum { LINE_MAX_BYTES = 64 * 1024 };

struct sending {
    struct cli_report *report;
    struct buf out;
    struct json json;
    struct daily_result result;
    struct fail fail;
};

static void on_domain(const struct daily_domain *d, void *arg)
{
    struct sending *s = arg;

    if (!s->report->options.json) {
        printf("%-14s ", daily_fate_name(d->fate));
        cli_print(str_of(d->domain));
        printf(" (%" PRIu64 " messages)%s", d->messages, d->to[0] != '\0' ? " " : "");
        cli_print(str_of(d->to));
        putchar('\n');
        return;
    }
    json_object(&s->json);
    json_put_z(&s->json, "domain", d->domain);
    json_put_z(&s->json, "fate", daily_fate_name(d->fate));
    json_put_int(&s->json, "messages", (int64_t)d->messages);
    json_put_z(&s->json, "report_id", d->report_id);
    json_put_z(&s->json, "to", d->to);
    json_object_end(&s->json);
    fwrite(s->out.p, 1, s->out.n, stdout); /* it goes out as it comes */
    buf_clear(&s->out);
}

static void on_done(const struct daily_result *result, const struct fail *fail, void *arg)
{
    struct sending *s = arg;

    s->result = *result;
    s->fail = *fail;
    loop_stop(s->report->lookup.loop);
}

static void end_json(struct sending *s)
{
    json_array_end(&s->json);
    json_key(&s->json, "fates");
    json_object(&s->json);
    for (int i = 0; i < DAILY_FATES; i++)
        json_put_int(&s->json, daily_fate_name((enum daily_fate)i), (int64_t)s->result.fates[i]);
    json_object_end(&s->json);
    json_object_end(&s->json);
    puts(buf_z(&s->out));
}

static int exit_code(const struct sending *s)
{
    if (s->result.failed) {
        fprintf(stderr, "smtpguard report send: %s\n", s->fail.text);
        return CLI_UNREACHABLE;
    }
    if (s->result.left_out > 0)
        fprintf(stderr, "smtpguard report send: %" PRIu64 " domains are beyond the %d that are looked at\n",
                s->result.left_out, DAILY_DOMAINS_MAX);
    return s->result.fates[DAILY_LATER] > 0 ? CLI_TEMPORARY : CLI_FINE;
}

static int run(struct cli_report *r)
{
    struct sending s = {.report = r};
    int64_t day = r->options.day >= 0 ? r->options.day : cli_report_yesterday();
    const struct daily_ask ask = {
        r->lookup.loop, r->lookup.dns, r->store, clock_system(), &r->daily, day, r->options.words[0],
        on_domain,      on_done,       &s};

    buf_init(&s.out, LINE_MAX_BYTES);
    json_init(&s.json, &s.out);
    if (r->options.json) {
        json_object(&s.json);
        json_key(&s.json, "reports");
        json_array(&s.json);
    }
    daily_start(&ask);
    loop_run(r->lookup.loop);
    if (r->options.json)
        end_json(&s);
    buf_fini(&s.out);
    return exit_code(&s);
}

static int check(struct cli_report *r)
{
    bool is_dry = r->options.dry_run_dir != NULL;

    if (r->options.from == NULL)
        return cli_usage("report send", "--from: which address do the reports come from?");
    if (!is_dry && r->options.backend == NULL && r->lookup.config->backends_count == 0)
        return cli_usage("report send", "--backend: there is none in the settings");
    return run(r);
}

int cli_report_send(int argc, char **argv)
{
    return cli_report_run("report send", argc, argv, 1, check);
}
