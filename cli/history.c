#include "cli/records.h"
#include "cli/store_open.h"

#include <stdio.h>
#include <string.h>

/* What was decided lately, a line each, the newest last. */

enum { FROM = CLI_RECORDS_OWN, TO, IP, ACTION };
enum { LIMIT_USUAL = 50, LIMIT_MOST = 100000, TEXT_SHOWN = 100 };

/* ---- a line ---- */

static void print_address(const char *address)
{
    putchar('<');
    cli_print(str_of(address));
    putchar('>');
}

static void print_envelope(const struct decision *d)
{
    if (d->from == NULL)
        return;
    printf("  ");
    print_address(d->from);
    printf(" to ");
    if (d->recipients_count > 0)
        print_address(d->recipients[0].to);
    else
        printf("nobody");
    if (d->recipients_count + (size_t)d->recipients_left_out > 1)
        printf(" and %zu more", d->recipients_count + (size_t)d->recipients_left_out - 1);
}

static void print_answer(const struct decision *d)
{
    const struct decision_outcome *outcome = cli_record_outcome(d);

    printf("%-8s ", cli_record_action(d));
    if (outcome == NULL)
        printf("    %-13s", "");
    else
        printf("%3d %-13.40s", outcome->code, outcome->check != NULL ? outcome->check : "");
}

static void print_line(const struct decision *d)
{
    const struct decision_outcome *outcome = cli_record_outcome(d);
    struct arena *mem = arena_new(0);
    const char *helo = d->facts.session.helo, *why = outcome != NULL ? outcome->text : d->end;

    printf("%s  ", cli_time_text(mem, d->time_unix));
    cli_print(str_of(str_fmt(mem, "%-13.40s ", *d->id != '\0' ? d->id : "-")));
    print_answer(d);
    printf(" %s", ip_text(mem, &d->facts.session.client));
    if (helo != NULL) {
        putchar(' ');
        cli_print(str_upto(str_of(helo), TEXT_SHOWN));
    }
    print_envelope(d);
    if (why != NULL && *why != '\0') {
        printf("  ");
        cli_print(str_upto(str_of(why), TEXT_SHOWN));
    }
    putchar('\n');
    arena_free(&mem);
}

/* ---- the last ones ---- */

/* Lines as they were read, the newest first, until they can be told in their order. */
struct last {
    struct arena *mem;
    struct str *lines;
    uint64_t count, room, limit;
};

static bool keep_line(const struct decision *decision, struct str line, void *arg)
{
    struct last *last = arg;

    (void)decision;
    if (last->count == last->room) {
        struct str *more = ARENA_ARRAY(last->mem, struct str, last->room * 2 + 64);

        if (last->count > 0)
            memcpy(more, last->lines, last->count * sizeof(*more));
        last->lines = more;
        last->room = last->room * 2 + 64;
    }
    last->lines[last->count++] = str_copy(last->mem, line);
    return last->count < last->limit;
}

static void tell_text(const struct last *last)
{
    struct arena *mem = arena_new(16 * 1024);
    struct decision decision;

    for (uint64_t i = last->count; i-- > 0; arena_reset(mem))
        if (decision_read(mem, last->lines[i], &decision))
            print_line(&decision);
    arena_free(&mem);
}

static void tell_json(const struct last *last)
{
    printf("{\"records\":[");
    for (uint64_t i = last->count; i-- > 0;)
        printf("%.*s%s", STR_ARG(last->lines[i]), i > 0 ? "," : "");
    puts("]}");
}

static int tell(struct cli_records *records)
{
    struct last last = {.mem = arena_new(64 * 1024), .limit = records->limit};
    int code = cli_records_each(records, RECORD_NEWEST_FIRST, keep_line, &last);

    if (code == CLI_FINE)
        (records->json ? tell_json : tell_text)(&last);
    if (code == CLI_FINE && last.count == 0)
        code = CLI_NO;
    arena_free(&last.mem);
    return code;
}

/* ---- the verb ---- */

static bool is_action(const char *word)
{
    for (int i = 0; i <= ACTION_DROP; i++)
        if (strcmp(word, action_name((enum action)i)) == 0)
            return true;
    return strcmp(word, "gone") == 0;
}

static bool take_filter(int option, struct cli_records *r)
{
    struct fail fail;

    switch (option) {
    case FROM:
        r->filter.from = optarg;
        return *optarg != '\0';
    case TO:
        r->filter.to = optarg;
        return *optarg != '\0';
    case IP:
        return net_parse(str_of(optarg), &r->filter.net, &fail) == 0;
    case ACTION:
        r->filter.action = optarg;
        return is_action(optarg);
    default:
        return false;
    }
}

int cli_history(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, CLI_RECORDS_JSON},
                                            {"config", required_argument, NULL, 'c'},
                                            {"since", required_argument, NULL, CLI_RECORDS_SINCE},
                                            {"from", required_argument, NULL, FROM},
                                            {"to", required_argument, NULL, TO},
                                            {"ip", required_argument, NULL, IP},
                                            {"action", required_argument, NULL, ACTION},
                                            {"limit", required_argument, NULL, CLI_RECORDS_LIMIT},
                                            {0}};
    struct cli_records records = {.verb = "history", .limit = LIMIT_USUAL};
    int code = cli_records_options(&records, argc, argv, options, LIMIT_MOST, take_filter);

    if (code != CLI_FINE)
        return code;
    if (optind < argc)
        return cli_usage(records.verb, "\"%s\" is one word too many", argv[optind]);
    code = cli_records_open(&records);
    if (code == CLI_FINE)
        code = tell(&records);
    cli_records_close(&records);
    return code;
}
