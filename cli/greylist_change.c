#include "cli/greylist.h"

#include <inttypes.h>
#include <stdio.h>

/* allow, forget: what an operator changes by hand. */

enum { TOGETHER_MAX = 1000, LINE_MAX_BYTES = 64 * 1024 };

static void print_clients(const struct cli_greylist *g, const char *key, int64_t number)
{
    struct buf out;
    struct json json;

    buf_init(&out, LINE_MAX_BYTES);
    json_init(&json, &out);
    json_object(&json);
    json_key(&json, "clients");
    json_array(&json);
    for (int i = 0; i < g->identities_count; i++)
        json_z(&json, g->identities[i]);
    json_array_end(&json);
    json_put_int(&json, key, number);
    json_object_end(&json);
    puts(buf_z(&out));
    buf_fini(&out);
}

/* ---- allow ---- */

static int allow(struct cli_greylist *g)
{
    int code;

    if (g->identities_count == 0)
        return cli_usage(g->verb,
                         "\"%s\" is an address; greylist.allow_recipients in the settings is for those",
                         g->options.word);
    for (int i = 0; i < g->identities_count; i++) {
        g->waiting.count++;
        grey_book_allow(g->store, g->lookup.loop, g->identities[i], g->now_unix, cli_on_change, &g->waiting);
    }
    code = cli_wait(&g->waiting);
    if (code != CLI_FINE)
        return code;
    if (g->options.json)
        print_clients(g, "allowed", g->identities_count);
    else
        for (int i = 0; i < g->identities_count; i++)
            fprintf(stderr, "%s passes from now on\n", g->identities[i]);
    return CLI_FINE;
}

int cli_greylist_allow(int argc, char **argv)
{
    struct cli_greylist g;
    int code = cli_greylist_open(&g, "greylist allow", argc, argv, true);

    if (code == CLI_FINE)
        code = allow(&g);
    cli_greylist_close(&g);
    return code;
}

/* ---- forget ---- */

struct forgetting {
    struct arena *mem;
    struct str keys[TOGETHER_MAX];
    size_t count;
};

static bool on_entry(const struct grey_book_entry *entry, void *arg)
{
    struct forgetting *f = arg;

    if (f->count == TOGETHER_MAX)
        return false;
    f->keys[f->count++] = str_copy(f->mem, entry->key);
    return true;
}

/* A bunch at a time: nothing is deleted while it is being read. */
static int forget(struct cli_greylist *g, uint64_t *total_out)
{
    static struct forgetting f;
    int code;

    f.mem = arena_new(0);
    do {
        f.count = 0;
        arena_reset(f.mem);
        code = cli_greylist_each(g, on_entry, &f);
        for (size_t i = 0; i < f.count && code == CLI_FINE; i++) {
            g->waiting.count++;
            grey_book_forget(g->store, g->lookup.loop, f.keys[i], cli_on_change, &g->waiting);
        }
        *total_out += f.count;
        if (code == CLI_FINE)
            code = cli_wait(&g->waiting);
    } while (code == CLI_FINE && f.count == TOGETHER_MAX);
    arena_free(&f.mem);
    return code;
}

int cli_greylist_forget(int argc, char **argv)
{
    struct cli_greylist g;
    uint64_t total = 0;
    int code = cli_greylist_open(&g, "greylist forget", argc, argv, true);

    if (code == CLI_FINE)
        code = forget(&g, &total);
    if (code == CLI_FINE && g.options.json)
        print_clients(&g, "forgotten", (int64_t)total);
    else if (code == CLI_FINE)
        fprintf(stderr, "%" PRIu64 " entries forgotten\n", total);
    cli_greylist_close(&g);
    return code == CLI_FINE && total == 0 ? CLI_NO : code;
}
