#include "cli/report.h"

#include "base/json.h"
#include "report/suppress.h"

#include <stdio.h>

enum { LIST_BYTES_MAX = 64 * 1024 * 1024 };

struct listing {
    struct buf out;
    struct json json;
    bool wants_json;
};

static bool on_row(const struct suppress_row *row, void *arg)
{
    struct listing *l = arg;
    char date[HISTORY_DATE_MAX] = "";

    if (row->expires_unix > 0)
        history_date(row->expires_unix / HISTORY_DAY_S, date);
    if (!l->wants_json) {
        printf("%-8s %-10s ", suppress_holds(row) ? (row->by_hand ? "by hand" : "learnt") : "counting",
               date[0] != '\0' ? date : "for ever");
        cli_print(str_of(row->whom));
        printf("%s", row->reason[0] != '\0' ? "  " : "");
        cli_print(str_of(row->reason));
        putchar('\n');
        return true;
    }
    json_object(&l->json);
    json_put_z(&l->json, "whom", row->whom);
    json_put_bool(&l->json, "suppressed", suppress_holds(row));
    json_put_bool(&l->json, "by_hand", row->by_hand);
    json_put_int(&l->json, "refusals", row->refusals);
    json_put_z(&l->json, "until", date[0] != '\0' ? date : NULL);
    json_put_z(&l->json, "reason", row->reason);
    json_object_end(&l->json);
    return true;
}

static int list(struct cli_report *r)
{
    struct listing l = {.wants_json = r->options.json};
    struct fail fail;
    int outcome;

    buf_init(&l.out, LIST_BYTES_MAX);
    json_init(&l.json, &l.out);
    json_object(&l.json);
    json_key(&l.json, "suppressed");
    json_array(&l.json);
    outcome = suppress_each(r->store, on_row, &l, &fail);
    json_array_end(&l.json);
    json_object_end(&l.json);
    if (r->options.json && outcome == 0)
        puts(buf_z(&l.out));
    buf_fini(&l.out);
    if (outcome != 0)
        fprintf(stderr, "smtpguard report suppress: %s\n", fail.text);
    return outcome != 0 ? CLI_UNREACHABLE : CLI_FINE;
}

static void tell_change(const struct cli_report *r)
{
    struct buf out;
    struct json json;

    buf_init(&out, LIST_BYTES_MAX);
    json_init(&json, &out);
    json_object(&json);
    json_put_z(&json, "whom", r->options.words[0]);
    json_put_bool(&json, "suppressed", !r->options.remove);
    json_object_end(&json);
    puts(buf_z(&out));
    buf_fini(&out);
}

static int change(struct cli_report *r)
{
    int code;

    r->waiting.count = 1;
    if (r->options.remove)
        suppress_remove(r->store, r->lookup.loop, r->options.words[0], cli_on_change, &r->waiting);
    else
        suppress_by_hand(r->store, r->lookup.loop, r->options.words[0], r->options.reason,
                         cli_on_change, &r->waiting);
    code = cli_wait(&r->waiting);
    if (code == CLI_FINE && r->options.json)
        tell_change(r);
    return code;
}

int cli_report_suppress(int argc, char **argv)
{
    struct cli_report r = {0};
    int code = cli_report_read_options("report suppress", argc, argv, 1, &r.options);

    if (code == CLI_FINE && r.options.remove && r.options.words_count == 0)
        code = cli_usage("report suppress", "whom?");
    if (code == CLI_FINE)
        code = cli_report_open("report suppress", &r);
    if (code == CLI_FINE)
        code = r.options.words_count == 0 ? list(&r) : change(&r);
    cli_report_close(&r);
    return code;
}
