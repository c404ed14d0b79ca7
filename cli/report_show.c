#include "cli/report.h"

#include "base/json.h"
#include "report/gzip.h"
#include "report/read.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { FILE_BYTES_MAX = 10 * 1024 * 1024, XML_BYTES_MAX = 10 * 1024 * 1024, LINE_MAX_BYTES = 256 * 1024 };

struct showing {
    bool wants_json;
    struct buf out;
    struct json json;
    struct read_head head;
    uint64_t records;
};

static const char *date_of(const char *seconds, char text[HISTORY_DATE_MAX])
{
    uint64_t number;

    if (!str_to_u64(str_of(seconds), (uint64_t)1 << 36, &number))
        return "?";
    return history_date((int64_t)number / HISTORY_DAY_S, text);
}

static void print_pair(const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    printf("  %-10s ", name);
    cli_print(str_of(value));
    putchar('\n');
}

static void print_head(const struct read_head *h)
{
    char begin[HISTORY_DATE_MAX], end[HISTORY_DATE_MAX];

    print_pair("from", h->org_name);
    print_pair("contact", h->email);
    print_pair("id", h->report_id);
    printf("  %-10s %s to %s\n", "days", date_of(h->begin, begin), date_of(h->end, end));
    print_pair("domain", h->domain);
    print_pair("policy", h->p);
    print_pair("sp", h->sp);
    print_pair("np", h->np);
    print_pair("testing", h->testing);
    print_pair("error", h->error);
    printf("\n%9s  %-39s %-10s %-5s %-5s %s\n", "messages", "source", "done", "dkim", "spf", "from, results");
}

static void print_cell(const char *text, int width)
{
    char cell[64];

    snprintf(cell, sizeof(cell), "%-*.60s", width, text);
    cli_print(str_of(cell));
    putchar(' ');
}

static void print_record(const struct read_record *r)
{
    printf("%9.9s  ", strspn(r->count, "0123456789") == strlen(r->count) ? r->count : "?");
    print_cell(r->source_ip, 39);
    print_cell(r->disposition, 10);
    print_cell(r->dkim, 5);
    print_cell(r->spf, 5);
    cli_print(str_of(r->header_from));
    printf(", ");
    cli_print(str_of(r->results));
    if (r->reason[0] != '\0') {
        printf(", ");
        cli_print(str_of(r->reason));
    }
    putchar('\n');
}

static void record_json(struct json *j, const struct read_record *r)
{
    json_object(j);
    json_put_z(j, "source_ip", r->source_ip);
    json_put_z(j, "count", r->count);
    json_put_z(j, "disposition", r->disposition);
    json_put_z(j, "dkim", r->dkim);
    json_put_z(j, "spf", r->spf);
    json_put_z(j, "reason", r->reason);
    json_put_z(j, "header_from", r->header_from);
    json_put_z(j, "envelope_from", r->envelope_from);
    json_put_z(j, "envelope_to", r->envelope_to);
    json_put_z(j, "results", r->results);
    json_object_end(j);
}

static void on_record(const struct read_head *head, const struct read_record *record, void *arg)
{
    struct showing *s = arg;

    if (s->wants_json) {
        record_json(&s->json, record);
        fwrite(s->out.p, 1, s->out.n, stdout); /* it goes out as it comes */
        buf_clear(&s->out);
    } else {
        if (s->records == 0)
            print_head(head);
        print_record(record);
    }
    s->records++;
}

/* What stands behind the records belongs to the head as well, so it comes last. */
static void end_json(struct showing *s)
{
    const struct read_head *h = &s->head;

    json_array_end(&s->json);
    json_put_z(&s->json, "org_name", h->org_name);
    json_put_z(&s->json, "email", h->email);
    json_put_z(&s->json, "report_id", h->report_id);
    json_put_z(&s->json, "begin", h->begin);
    json_put_z(&s->json, "end", h->end);
    json_put_z(&s->json, "domain", h->domain);
    json_put_z(&s->json, "p", h->p);
    json_put_z(&s->json, "sp", h->sp);
    json_put_z(&s->json, "np", h->np);
    json_put_z(&s->json, "error", h->error);
    json_object_end(&s->json);
    puts(buf_z(&s->out));
}

static int show_xml(struct str xml, bool wants_json, struct fail *fail)
{
    struct showing s = {.wants_json = wants_json};
    int outcome;

    buf_init(&s.out, LINE_MAX_BYTES);
    json_init(&s.json, &s.out);
    if (wants_json) {
        json_object(&s.json);
        json_key(&s.json, "records");
        json_array(&s.json);
    }
    outcome = read_report(xml, &s.head, on_record, &s, fail);
    if (wants_json)
        end_json(&s);
    else if (outcome == 0 && s.records == 0)
        print_head(&s.head);
    buf_fini(&s.out);
    return outcome;
}

static int read_file(const char *name, struct buf *out, struct fail *fail)
{
    bool is_input = strcmp(name, "-") == 0;
    FILE *file = is_input ? stdin : fopen(name, "r");
    char bytes[16 * 1024];
    size_t n;
    int outcome = 0;

    if (file == NULL)
        return fail_set(fail, "%s", strerror(errno));
    while (outcome == 0 && (n = fread(bytes, 1, sizeof(bytes), file)) > 0)
        if (!buf_add(out, bytes, n))
            outcome = fail_set(fail, "it has more than %d bytes", FILE_BYTES_MAX);
    if (outcome == 0 && ferror(file))
        outcome = fail_set(fail, "it cannot be read: %s", strerror(errno));
    if (!is_input)
        fclose(file);
    return outcome;
}

int cli_report_show(int argc, char **argv)
{
    struct cli_report_options o;
    struct buf packed, xml;
    struct fail fail;
    int code = cli_report_read_options("report show", argc, argv, 1, &o);

    if (code == CLI_FINE && o.words_count == 0)
        code = cli_usage("report show", "which file?");
    if (code != CLI_FINE)
        return code;
    buf_init(&packed, FILE_BYTES_MAX);
    buf_init(&xml, XML_BYTES_MAX);
    if (read_file(o.words[0], &packed, &fail) != 0 || gzip_unpack(buf_str(&packed), &xml, &fail) != 0 ||
        show_xml(buf_str(&xml), o.json, &fail) != 0) {
        fprintf(stderr, "smtpguard report show: %s: %s\n", o.words[0], fail.text);
        code = CLI_BAD_INPUT;
    }
    buf_fini(&packed);
    buf_fini(&xml);
    return code;
}
