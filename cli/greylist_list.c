#include "cli/greylist.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* list, show, stats: they only read. */

enum { LINE_MAX_BYTES = 64 * 1024 };

/* ---- list, show ---- */

struct listing {
    const struct cli_greylist *greylist;
    struct buf out;
    struct json json;
    uint64_t count;
};

static bool on_entry(const struct grey_book_entry *entry, void *arg)
{
    struct listing *l = arg;
    const struct cli_greylist_options *o = &l->greylist->options;

    if (o->state != NULL && strcmp(o->state, grey_book_state_name(entry->state)) != 0)
        return true;
    if (l->count == o->limit)
        return false;
    l->count++;
    if (!o->json) {
        cli_greylist_print(entry, l->greylist->lookup.config->greylist.delay_s);
        return ferror(stdout) == 0;
    }
    cli_greylist_print_json(&l->json, entry);
    fwrite(l->out.p, 1, l->out.n, stdout); /* it goes out as it comes: there may be millions */
    buf_clear(&l->out);
    return ferror(stdout) == 0;
}

static int print_entries(struct cli_greylist *g)
{
    struct listing l = {.greylist = g};
    int code;

    buf_init(&l.out, LINE_MAX_BYTES);
    json_init(&l.json, &l.out);
    json_object(&l.json);
    json_key(&l.json, "entries");
    json_array(&l.json);
    code = cli_greylist_each(g, on_entry, &l);
    json_array_end(&l.json);
    json_object_end(&l.json);
    if (g->options.json)
        puts(buf_z(&l.out));
    buf_fini(&l.out);
    return code != CLI_FINE ? code : l.count > 0 ? CLI_FINE : CLI_NO;
}

static int open_and_print(const char *verb, int argc, char **argv, bool takes_word)
{
    struct cli_greylist g;
    int code = cli_greylist_open(&g, verb, argc, argv, takes_word);

    if (code == CLI_FINE)
        code = print_entries(&g);
    cli_greylist_close(&g);
    return code;
}

int cli_greylist_list(int argc, char **argv)
{
    return open_and_print("greylist list", argc, argv, false);
}

int cli_greylist_show(int argc, char **argv)
{
    return open_and_print("greylist show", argc, argv, true);
}

/* ---- stats ---- */

enum kind { KIND_SPF, KIND_HOST, KIND_NET, KINDS };

static const char *const kind_names[KINDS] = {"spf", "host", "net"};

struct counts {
    uint64_t states[GREY_BOOK_STATES];
    uint64_t kinds[KINDS]; /* clients or triples that are known so */
    int64_t oldest_unix;   /* of the triples: when the first was first seen; 0: there is none */
};

static bool on_counted(const struct grey_book_entry *entry, void *arg)
{
    struct counts *counts = arg;
    int64_t first_unix = entry->memory.triple.first_unix;

    counts->states[entry->state]++;
    for (int i = 0; i < KINDS; i++)
        counts->kinds[i] += str_starts(entry->client, str_of(kind_names[i]));
    if (entry->is_triple && (counts->oldest_unix == 0 || first_unix < counts->oldest_unix))
        counts->oldest_unix = first_unix;
    return true;
}

static void print_stats(const struct counts *counts)
{
    static const char *const told[GREY_BOOK_STATES] = {
        "mail that has yet to come again", "mail that came again and passed",
        "clients whose deliveries are counted", "clients that are trusted",
        "clients that an operator allowed"};

    for (int i = 0; i < GREY_BOOK_STATES; i++)
        printf("%-8s %10" PRIu64 "  %s\n", grey_book_state_name((enum grey_book_state)i), counts->states[i],
               told[i]);
    for (int i = 0; i < KINDS; i++)
        printf("%-8s %10" PRIu64 "  of these are known by %s\n", kind_names[i], counts->kinds[i],
               i == KIND_SPF    ? "the domain that SPF passed for"
               : i == KIND_HOST ? "their host's domain"
                                : "their network");
}

static void print_stats_json(const struct counts *counts)
{
    struct buf out;
    struct json json;

    buf_init(&out, LINE_MAX_BYTES);
    json_init(&json, &out);
    json_object(&json);
    for (int i = 0; i < GREY_BOOK_STATES; i++)
        json_put_int(&json, grey_book_state_name((enum grey_book_state)i), (int64_t)counts->states[i]);
    for (int i = 0; i < KINDS; i++)
        json_put_int(&json, kind_names[i], (int64_t)counts->kinds[i]);
    json_key(&json, "oldest");
    if (counts->oldest_unix > 0)
        json_int(&json, counts->oldest_unix);
    else
        json_null(&json);
    json_object_end(&json);
    puts(buf_z(&out));
    buf_fini(&out);
}

int cli_greylist_stats(int argc, char **argv)
{
    struct counts counts = {0};
    struct cli_greylist g;
    int code = cli_greylist_open(&g, "greylist stats", argc, argv, false);

    if (code == CLI_FINE)
        code = cli_greylist_each(&g, on_counted, &counts);
    if (code == CLI_FINE)
        (g.options.json ? print_stats_json : print_stats)(&counts);
    cli_greylist_close(&g);
    return code;
}
