#include "cli/report.h"

#include "report/gzip.h"
#include "report/mail.h"

#include <stdio.h>

enum { XML_BYTES_MAX = 1024 * 1024 * 1024 };

static int print_mail(struct cli_report *r, const struct aggregate *report, struct str gz)
{
    struct buf mail;

    buf_init(&mail, gz.n / 57 * 78 + 64 * 1024);
    mail_aggregate(r->lookup.mem, &mail, &r->daily.identity, "somebody@invalid", r->options.words[0], report,
                   gz, clock_unix(clock_system()));
    fwrite(mail.p, 1, mail.n, stdout);
    buf_fini(&mail);
    return CLI_FINE;
}

static int print_xml(struct str gz)
{
    struct buf xml;
    struct fail fail;
    int outcome;

    buf_init(&xml, XML_BYTES_MAX);
    outcome = gzip_unpack_ours(gz, &xml, &fail);
    if (outcome == 0)
        fwrite(xml.p, 1, xml.n, stdout);
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
        code = r->options.mail ? print_mail(r, &report, buf_str(&gz)) : print_xml(buf_str(&gz));
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
