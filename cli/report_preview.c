#include "cli/report.h"

#include "base/json.h"
#include "report/gzip.h"
#include "report/mail.h"

#include <stdio.h>

enum { XML_BYTES_MAX = 1024 * 1024 * 1024 };

static void print_json(const struct aggregate *report, const char *key, struct str text)
{
    struct buf out;
    struct json j;

    buf_init(&out, 2 * (size_t)XML_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    json_put_z(&j, "report_id", report->report_id);
    json_put_z(&j, "file_name", report->file_name);
    json_put_int(&j, "rows", (int64_t)report->rows);
    json_put_int(&j, "messages", (int64_t)report->messages);
    json_put_int(&j, "left_out", (int64_t)report->left_out);
    json_put_str(&j, key, text);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

static void print(const struct cli_report *r, const struct aggregate *report, const char *key,
                  struct str text)
{
    if (r->options.json)
        print_json(report, key, text);
    else
        fwrite(text.p, 1, text.n, stdout);
}

static int print_mail(struct cli_report *r, const struct aggregate *report, struct str gz)
{
    struct buf mail;

    buf_init(&mail, gz.n / 57 * 78 + 64 * 1024);
    mail_aggregate(r->lookup.mem, &mail, &r->daily.identity, "somebody@invalid", r->options.words[0], report,
                   gz, clock_unix(clock_system()));
    print(r, report, "mail", buf_str(&mail));
    buf_fini(&mail);
    return CLI_FINE;
}

static int print_xml(const struct cli_report *r, const struct aggregate *report, struct str gz)
{
    struct buf xml;
    struct fail fail;
    int outcome;

    buf_init(&xml, XML_BYTES_MAX);
    outcome = gzip_unpack_ours(gz, &xml, &fail);
    if (outcome == 0)
        print(r, report, "xml", buf_str(&xml));
    else
        fprintf(stderr, "smtpguard report preview: %s\n", fail.text);
    buf_fini(&xml);
    return outcome == 0 ? CLI_FINE : CLI_BAD_INPUT;
}

static int preview(struct cli_report *r)
{
    int64_t day = r->options.day >= 0 ? r->options.day : cli_report_yesterday();
    const struct aggregate_ask ask = {r->store, day, r->options.words[0], r->options.format,
                                      &r->daily.identity};
    struct aggregate report;
    struct fail fail;
    struct buf gz;
    int code = CLI_NO;

    buf_init(&gz, r->daily.max_bytes);
    switch (aggregate_build(r->lookup.mem, &ask, &gz, &report, &fail)) {
    case AGGREGATE_BUILT:
        code = r->options.mail ? print_mail(r, &report, buf_str(&gz)) : print_xml(r, &report, buf_str(&gz));
        break;
    case AGGREGATE_NOTHING:
        fprintf(stderr, "smtpguard report preview: there is nothing to report about %s\n",
                r->options.words[0]);
        break;
    case AGGREGATE_FAILED:
        fprintf(stderr, "smtpguard report preview: %s\n", fail.text);
        code = CLI_BAD_INPUT;
        break;
    }
    buf_fini(&gz);
    return code;
}

int cli_report_preview(int argc, char **argv)
{
    struct cli_report r = {0};
    int code = cli_report_read_options("report preview", argc, argv, 1, &r.options);

    if (code == CLI_FINE && r.options.words_count == 0)
        code = cli_usage("report preview", "which domain?");
    if (code == CLI_FINE)
        code = cli_report_open("report preview", &r);
    if (code == CLI_FINE)
        code = preview(&r);
    cli_report_close(&r);
    return code;
}
