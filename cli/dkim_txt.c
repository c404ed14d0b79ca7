#include "base/json.h"
#include "auth/dkim_judge.h"
#include "cli/dkim_options.h"

enum { ANSWER_BYTES_MAX = 64 * 1024 };

static const char words[] = "dkim txt";

static void print_json(const char *name, const char *record, const char *zone)
{
    struct buf out;
    struct json j;

    buf_init(&out, ANSWER_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    json_put_z(&j, "name", name);
    json_put_z(&j, "record", record);
    json_put_z(&j, "zone", zone);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

/* Without its name a record still has a value, and the zone form a name to be replaced. */
static int print(struct arena *mem, const struct dkim_options *o, const struct dkim_private *key)
{
    const char *selector = o->selector != NULL ? o->selector : "SELECTOR";
    const char *domain = o->domain != NULL ? o->domain : "DOMAIN";
    const char *name = dkim_key_name(mem, selector, domain), *record = dkim_private_record(mem, key);
    const char *zone = dkim_record_as_zone(mem, name, record);

    if (o->json)
        print_json(name, record, zone);
    else
        printf("%s\n%s\n", zone, record);
    return CLI_FINE;
}

int cli_dkim_txt(int argc, char **argv)
{
    struct arena *mem = arena_new(0);
    struct dkim_private *key = NULL;
    struct dkim_options o;
    int code = dkim_options_read(mem, words, "json domain selector", argc, argv, &o);

    if (code == CLI_FINE && o.operand == NULL)
        code = cli_usage(words, "which key file?");
    if (code == CLI_FINE) {
        key = dkim_options_key(mem, o.operand);
        code = key != NULL ? print(mem, &o, key) : CLI_BAD_INPUT;
    }
    dkim_private_free(&key);
    arena_free(&mem);
    return code;
}
