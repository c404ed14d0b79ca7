#include "cli/report.h"

#include "cli/report_opendmarc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/*
 * export, import, expire. A line a row, key and value in hexadecimal, between a first line that names the
 * form and a last one that counts. Rows are merged (report/history.h), so a file that was imported in part,
 * or twice, is no harm; but a file without its last line is said to be cut.
 */

static const char first_line[] = "smtpguard-dmarc-history 2";

enum { LINE_MAX_BYTES = 2 * (STORE_KEY_BYTES_MAX + STORE_VALUE_MAX) + 16, TOGETHER_MAX = 1000 };

/* ---- export ---- */

static void print_hex(struct str bytes)
{
    for (size_t i = 0; i < bytes.n; i++)
        printf("%02x", (unsigned char)bytes.p[i]);
}

struct exporting {
    int64_t day;
    uint64_t count;
};

static bool on_export(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct exporting *e = arg;

    (void)expires_unix;
    if (history_day_of(key) < 0 || (e->day >= 0 && history_day_of(key) != e->day))
        return true;
    print_hex(key);
    putchar(' ');
    print_hex(value);
    putchar('\n');
    e->count++;
    return ferror(stdout) == 0;
}

static int export_rows(struct cli_report *r)
{
    struct exporting e = {.day = r->options.day};
    struct fail fail;

    puts(first_line);
    if (store_each(r->store, history_table, STR(""), on_export, &e, &fail) != 0) {
        fprintf(stderr, "smtpguard report export: %s\n", fail.text);
        return CLI_UNREACHABLE;
    }
    printf("end %" PRIu64 "\n", e.count);
    return CLI_FINE;
}

int cli_report_export(int argc, char **argv)
{
    return cli_report_run("report export", argc, argv, 0, export_rows);
}

/* ---- import ---- */

struct importing {
    struct cli_report *report;
    uint64_t lines, rows, news;
    int together;
};

static void on_merged(enum store_status status, const void *result, void *arg)
{
    struct importing *i = arg;

    i->news += status == STORE_DONE && *(const bool *)result;
    cli_on_change(status, result, &i->report->waiting);
}

/* One of the future would stay until then. Clocks may differ, and hosts be in doubt about midnight. */
static bool is_row(struct str key, struct str value)
{
    return history_row_is_valid(key, value) && history_day_of(key) <= cli_report_yesterday() + 2;
}

static int import_row(struct importing *i, struct str line)
{
    char key_bytes[STORE_KEY_BYTES_MAX], value_bytes[STORE_VALUE_MAX];
    struct str left, right, key, value;

    if (!str_cut(line, ' ', &left, &right) || !str_unhex(left, key_bytes, sizeof(key_bytes), &key) ||
        !str_unhex(right, value_bytes, sizeof(value_bytes), &value) || !is_row(key, value))
        return -1;
    i->rows++;
    i->report->waiting.count++;
    history_merge(&i->report->history, i->report->lookup.loop, key, value, on_merged, i);
    return ++i->together % TOGETHER_MAX == 0 ? cli_wait(&i->report->waiting) : 0;
}

static int fault(const struct importing *i, const char *what)
{
    fprintf(stderr, "smtpguard report import: line %" PRIu64 ": %s\n", i->lines, what);
    return CLI_BAD_INPUT;
}

/* Everything up to the last line is kept, whatever comes. */
static int import_lines(struct importing *i, FILE *file)
{
    static char line[LINE_MAX_BYTES];
    uint64_t count;

    while (fgets(line, sizeof(line), file) != NULL) {
        struct str text = str_of(line);
        int code;

        i->lines++;
        if (text.n == 0 || text.p[text.n - 1] != '\n')
            return fault(i, "it is cut, or too long");
        text = str_trim(text);
        if (i->lines == 1) {
            if (!str_eq_z(text, first_line))
                return fault(i, "this is no export of the history (is it OpenDMARC's? --from opendmarc)");
            continue;
        }
        if (str_starts(text, STR("end ")))
            return str_to_u64(str_from(text, 4), UINT64_MAX, &count) && count == i->rows
                       ? CLI_FINE
                       : fault(i, "rows are missing");
        code = import_row(i, text);
        if (code != 0)
            return code < 0 ? fault(i, "this is no row of the history, or one of the future") : code;
    }
    return fault(i, "the file ends too early");
}

static int import_file(struct cli_report *r, FILE *file)
{
    struct importing i = {.report = r};
    int code = import_lines(&i, file), waited = cli_wait(&r->waiting);

    if (r->options.json)
        printf("{\"rows\":%" PRIu64 ",\"news\":%" PRIu64 "}\n", i.rows, i.news);
    else
        fprintf(stderr, "%" PRIu64 " rows, %" PRIu64 " of them new or greater\n", i.rows, i.news);
    return code != CLI_FINE ? code : waited;
}

static int import(struct cli_report *r)
{
    const char *name = r->options.words[0];
    bool is_input = name == NULL || strcmp(name, "-") == 0;
    FILE *file = is_input ? stdin : fopen(name, "r");
    int code;

    if (file == NULL) {
        fprintf(stderr, "smtpguard report import: %s: %s\n", name, strerror(errno));
        return CLI_BAD_INPUT;
    }
    code = r->options.input_format != NULL ? cli_report_import_opendmarc(r, file) : import_file(r, file);
    if (!is_input)
        fclose(file);
    return code;
}

int cli_report_import(int argc, char **argv)
{
    return cli_report_run("report import", argc, argv, 1, import);
}

/* ---- expire ---- */

struct expiring {
    struct cli_report *report;
    struct arena *mem;
    int64_t before_day;
    struct str keys[TOGETHER_MAX];
    size_t count;
};

static bool on_old(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct expiring *e = arg;
    int64_t day = history_day_of(key);

    (void)value, (void)expires_unix;
    if (day >= 0 && day < e->before_day)
        e->keys[e->count++] = str_copy(e->mem, key);
    return e->count < TOGETHER_MAX;
}

/* A bunch at a time: nothing is deleted while it is being read. */
static int expire(struct cli_report *r)
{
    static struct expiring e;
    struct fail fail;
    uint64_t total = 0;
    int code = CLI_FINE;

    e = (struct expiring){.report = r,
                          .mem = r->lookup.mem,
                          .before_day = cli_report_yesterday() + 1 - (int64_t)r->options.keep_days};
    do {
        e.count = 0;
        if (store_each(r->store, history_table, STR(""), on_old, &e, &fail) != 0) {
            fprintf(stderr, "smtpguard report expire: %s\n", fail.text);
            return CLI_UNREACHABLE;
        }
        for (size_t i = 0; i < e.count; i++) {
            r->waiting.count++;
            history_forget(&r->history, r->lookup.loop, e.keys[i], cli_on_change, &r->waiting);
        }
        total += e.count;
        code = cli_wait(&r->waiting);
    } while (code == CLI_FINE && e.count == TOGETHER_MAX);
    if (r->options.json)
        printf("{\"rows\":%" PRIu64 "}\n", total);
    else
        fprintf(stderr, "%" PRIu64 " rows forgotten\n", total);
    return code;
}

int cli_report_expire(int argc, char **argv)
{
    return cli_report_run("report expire", argc, argv, 0, expire);
}
