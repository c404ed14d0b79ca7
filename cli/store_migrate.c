#include "cli/store_open.h"
#include "cli/store_options.h"

#include "base/json.h"
#include "proxy/tables.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/*
 * Row by row, as if another host had counted them: what is there already is merged, so it may be done again,
 * beside running daemons, and from several hosts into one.
 */

enum { AT_ONCE = 500, OUT_MAX = 4096 };

struct migration {
    struct store *to;
    const struct store_table *table;
    struct cli_waiting waiting;
    uint64_t rows;
};

struct arrival {
    struct arena *mem; /* its own */
    struct migration *migration;
    struct str key;
    struct store_row row;
};

static void change(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                   void *result)
{
    const struct arrival *a;
    store_merge_fn *merge;

    (void)count, (void)result;
    memcpy(&a, question, sizeof(const struct arrival *));
    merge = a->migration->table->merge;
    if (merge != NULL)
        merge(mem, a->key, &a->row, &rows[0]);
    else if (rows[0].value.n == 0)
        rows[0] = a->row;
}

static void on_arrived(enum store_status status, const void *result, void *arg)
{
    struct arrival *a = arg;
    struct arena *mem = a->mem;

    cli_on_change(status, result, &a->migration->waiting);
    arena_free(&mem);
}

static bool on_row(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct migration *m = arg;
    struct arena *mem = arena_new(0);
    struct arrival *a = ARENA_NEW(mem, struct arrival);
    struct store_request request = {.table = m->table->name,
                                    .keys = {key},
                                    .keys_count = 1,
                                    .change = change,
                                    .question = &a,
                                    .question_bytes = sizeof(a)};

    *a = (struct arrival){mem, m, str_copy(mem, key), {str_copy(mem, value), expires_unix}};
    m->waiting.count++;
    m->rows++;
    store_update(m->to, m->waiting.loop, &request, on_arrived, a);
    if (m->waiting.count >= AT_ONCE)
        cli_wait(&m->waiting);
    return !m->waiting.failed;
}

static int tell(const struct cli_store *s, uint64_t rows)
{
    struct buf out;
    struct json json;

    if (!s->json) {
        printf("%" PRIu64 " rows are there now\n", rows);
        return CLI_FINE;
    }
    buf_init(&out, OUT_MAX);
    json_init(&json, &out);
    json_object(&json);
    json_put_int(&json, "rows", (int64_t)rows);
    json_object_end(&json);
    puts(buf_z(&out));
    buf_fini(&out);
    return CLI_FINE;
}

static int move(const struct cli_store *s, struct store *from, struct store *to)
{
    struct migration m = {.to = to, .waiting = {.loop = s->lookup.loop}};
    const struct store_table *tables;
    size_t count = tables_list(&tables);
    struct fail fail;

    for (size_t i = 0; i < count; i++) {
        int outcome;

        m.table = &tables[i];
        outcome = store_each(from, m.table->name, STR(""), on_row, &m, &fail);
        if (cli_wait(&m.waiting) != CLI_FINE)
            return CLI_UNREACHABLE;
        if (outcome != 0) {
            fprintf(stderr, "smtpguard %s: %s\n", s->verb, fail.text);
            return CLI_UNREACHABLE;
        }
    }
    return tell(s, m.rows);
}

static int migrate(const struct cli_store *s)
{
    const struct store_settings *settings = &s->lookup.config->store;
    struct store *from, *to = NULL;
    int code = CLI_FINE;

    if (s->from == NULL || s->to == NULL || strcmp(s->from, s->to) == 0)
        return cli_usage(s->verb, "--from and --to name two stores");
    from = cli_store_open(s->verb, settings, s->from, &code);
    if (from != NULL)
        to = cli_store_open(s->verb, settings, s->to, &code);
    if (to != NULL)
        code = move(s, from, to);
    store_close(&to);
    store_close(&from);
    return code;
}

int cli_store_migrate(int argc, char **argv)
{
    struct cli_store s;
    int code = cli_store_options(&s, "store migrate", argc, argv);

    if (code == CLI_FINE)
        code = s.file == NULL ? migrate(&s) : cli_usage(s.verb, "\"%s\" is one word too many", s.file);
    cli_lookup_close(&s.lookup);
    return code;
}
