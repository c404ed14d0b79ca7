#include "cli/records.h"
#include "cli/store_open.h"
#include "proxy/replay.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What would have been decided with these settings? */

enum {
    LIMIT_USUAL = 100,
    LIMIT_MOST = 1000000,
    KINDS_MAX = 400,
    WORDS_MAX = 64,
    LINE_BYTES_MAX = 64 * 1024,
    TEXT_SHOWN = 100
};

/* Changes of one kind: "accept" to "reject dmarc". */
struct kind {
    char was[WORDS_MAX], would[WORDS_MAX];
    uint64_t count;
};

struct replaying {
    struct cli_records records;
    struct arena *mem; /* of one decision */
    uint64_t decisions, changed, told;
    uint64_t gaps[REPLAY_GAPS]; /* decisions with it */
    struct kind kinds[KINDS_MAX];
    size_t kinds_count;
    struct buf out;
    struct json json;
};

/* ---- kinds ---- */

static void write_words(char words[WORDS_MAX], enum action action, const char *check,
                        enum dmarc_policy disposition)
{
    snprintf(words, WORDS_MAX, "%s%s%.40s%s", action_name(action), check != NULL ? " " : "",
             check != NULL ? check : "",
             action == ACTION_ACCEPT && disposition == DMARC_POLICY_QUARANTINE ? " marked" : "");
}

static struct kind kind_of(const struct replay_answer *a)
{
    struct kind kind = {.count = 1};

    write_words(kind.was, a->was, a->was_check, a->was_disposition);
    write_words(kind.would, a->would.action, a->would.check, a->would_disposition);
    return kind;
}

/* Kinds beyond KINDS_MAX, which no settings lead to, are counted with the last. */
static void count_kind(struct replaying *r, const struct kind *kind)
{
    for (size_t i = 0; i < r->kinds_count; i++)
        if (i == KINDS_MAX - 1 ||
            (strcmp(r->kinds[i].was, kind->was) == 0 && strcmp(r->kinds[i].would, kind->would) == 0)) {
            r->kinds[i].count++;
            return;
        }
    r->kinds[r->kinds_count++] = *kind;
}

/* ---- changes ---- */

static const char *whom(const struct replay_answer *a)
{
    return a->recipient != NULL ? a->recipient->to : NULL;
}

static void print_change(const struct decision *d, const struct replay_answer *a, const struct kind *kind)
{
    struct arena *mem = arena_new(0);

    printf("%s  ", cli_time_text(mem, d->time_unix));
    cli_print(str_of(
        str_fmt(mem, "%-13.40s %s", *d->id != '\0' ? d->id : "-", ip_text(mem, &d->facts.session.client))));
    printf("  ");
    if (d->from != NULL)
        cli_print(str_of(str_fmt(mem, "<%s> ", d->from)));
    if (whom(a) != NULL)
        cli_print(str_of(str_fmt(mem, "to <%s> ", whom(a))));
    cli_print(str_of(str_fmt(mem, "%s: %s -> %s", a->moment, kind->was, kind->would)));
    if (verdict_refuses(&a->would)) {
        printf("  %d ", a->would.code);
        cli_print(str_upto(str_of(a->would.text), TEXT_SHOWN));
    }
    putchar('\n');
    arena_free(&mem);
}

static void put_change(struct json *json, const struct decision *d, const struct replay_answer *a,
                       const struct kind *kind)
{
    json_object(json);
    json_put_z(json, "id", d->id);
    json_put_int(json, "time", d->time_unix);
    json_put_z(json, "moment", a->moment);
    json_put_z(json, "to", whom(a));
    json_put_z(json, "was", kind->was);
    json_put_z(json, "would", kind->would);
    json_put_int(json, "reply", a->would.code);
    json_put_z(json, "text", a->would.text);
    json_object_end(json);
}

static void tell_change(struct replaying *r, const struct decision *d, const struct replay_answer *a)
{
    struct kind kind = kind_of(a);

    count_kind(r, &kind);
    if (r->told == r->records.limit)
        return;
    r->told++;
    if (!r->records.json) {
        print_change(d, a, &kind);
        return;
    }
    put_change(&r->json, d, a, &kind);
    fwrite(r->out.p, 1, r->out.n, stdout); /* it goes out as it comes */
    buf_clear(&r->out);
}

static bool on_record(const struct decision *decision, struct str line, void *arg)
{
    struct replaying *r = arg;
    struct replay replay;
    bool changed = false;

    (void)line;
    arena_reset(r->mem);
    replay = replay_decision(r->mem, r->records.lookup.config, decision);
    for (size_t i = 0; i < replay.count; i++)
        if (!replay_is_same(&replay.answers[i])) {
            changed = true;
            tell_change(r, decision, &replay.answers[i]);
        }
    for (int i = 0; i < REPLAY_GAPS; i++)
        r->gaps[i] += replay.gaps >> i & 1;
    r->decisions++;
    r->changed += changed;
    return true;
}

/* ---- the sum ---- */

static void print_sum(const struct replaying *r)
{
    printf("%s%" PRIu64 " decisions on record: %" PRIu64 " would be the same, %" PRIu64 " others\n",
           r->told > 0 ? "\n" : "", r->decisions, r->decisions - r->changed, r->changed);
    for (size_t i = 0; i < r->kinds_count; i++)
        printf("%8" PRIu64 "  %s -> %s\n", r->kinds[i].count, r->kinds[i].was, r->kinds[i].would);
    for (int i = 0; i < REPLAY_GAPS; i++)
        if (r->gaps[i] > 0)
            printf("%8" PRIu64 "  decided without %s, which was not asked then\n", r->gaps[i],
                   replay_gap_name((enum replay_gap)(1 << i)));
}

static void put_sum(struct replaying *r)
{
    json_array_end(&r->json);
    json_put_int(&r->json, "decisions", (int64_t)r->decisions);
    json_put_int(&r->json, "changed", (int64_t)r->changed);
    json_key(&r->json, "kinds");
    json_array(&r->json);
    for (size_t i = 0; i < r->kinds_count; i++) {
        json_object(&r->json);
        json_put_z(&r->json, "was", r->kinds[i].was);
        json_put_z(&r->json, "would", r->kinds[i].would);
        json_put_int(&r->json, "count", (int64_t)r->kinds[i].count);
        json_object_end(&r->json);
    }
    json_array_end(&r->json);
    json_key(&r->json, "gaps");
    json_object(&r->json);
    for (int i = 0; i < REPLAY_GAPS; i++)
        json_put_int(&r->json, replay_gap_name((enum replay_gap)(1 << i)), (int64_t)r->gaps[i]);
    json_object_end(&r->json);
    json_object_end(&r->json);
    puts(buf_z(&r->out));
}

static int replay(struct replaying *r)
{
    int code;

    buf_init(&r->out, LINE_BYTES_MAX);
    json_init(&r->json, &r->out);
    json_object(&r->json);
    json_key(&r->json, "changes");
    json_array(&r->json);
    code = cli_records_each(&r->records, RECORD_OLDEST_FIRST, on_record, r);
    if (r->records.json)
        put_sum(r);
    else if (code == CLI_FINE)
        print_sum(r);
    buf_fini(&r->out);
    return code != CLI_FINE ? code : r->changed > 0 ? CLI_NO : CLI_FINE;
}

/* ---- the verb ---- */

int cli_replay(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, CLI_RECORDS_JSON},
                                            {"config", required_argument, NULL, 'c'},
                                            {"since", required_argument, NULL, CLI_RECORDS_SINCE},
                                            {"limit", required_argument, NULL, CLI_RECORDS_LIMIT},
                                            {0}};
    struct replaying r = {.records = {.verb = "replay", .limit = LIMIT_USUAL}};
    int code = cli_records_options(&r.records, argc, argv, options, LIMIT_MOST, NULL);

    if (code != CLI_FINE)
        return code;
    if (optind < argc)
        return cli_usage(r.records.verb, "\"%s\" is one word too many", argv[optind]);
    if (r.records.config_file == NULL)
        return cli_usage(r.records.verb, "-c NEW.yaml is missing: the settings to try");
    r.mem = arena_new(16 * 1024);
    code = cli_records_open(&r.records);
    if (code == CLI_FINE)
        code = replay(&r);
    cli_records_close(&r.records);
    arena_free(&r.mem);
    return code;
}
