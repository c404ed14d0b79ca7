#include "base/bug.h"
#include "base/json.h"
#include "auth/dkim_judge.h"
#include "cli/dkim_options.h"

#include <string.h>

enum { ANSWER_BYTES_MAX = 64 * 1024 };

static const char words[] = "dkim genkey";

static int type_of(const char *name, enum dkim_private_type *type_out)
{
    static const char *const names[] = {[DKIM_PRIVATE_RSA_2048] = "rsa-2048",
                                        [DKIM_PRIVATE_RSA_4096] = "rsa-4096",
                                        [DKIM_PRIVATE_ED25519] = "ed25519"};

    *type_out = DKIM_PRIVATE_RSA_2048;
    if (name == NULL)
        return CLI_FINE;
    for (size_t i = 0; i < COUNT(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *type_out = (enum dkim_private_type)i;
            return CLI_FINE;
        }
    return cli_usage(words, "--type: \"%s\" is none of rsa-2048, rsa-4096, ed25519", name);
}

static void print_json(const char *file, const char *name, const char *record, const char *zone)
{
    struct buf out;
    struct json j;

    buf_init(&out, ANSWER_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    json_put_z(&j, "file", file);
    json_put_z(&j, "name", name);
    json_put_z(&j, "record", record);
    json_put_z(&j, "zone", zone);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

static void print_text(const struct dkim_options *o, const char *file, const char *name, const char *record,
                       const char *zone)
{
    printf("The private key is in %s (mode 600). Publish this record:\n\n", file);
    printf("in a zone file:\n\n%s\nin a form on a web page:\n\n", zone);
    printf("  name   %s\n  type   TXT\n  value  %s\n\n", name, record);
    printf(
        "Then wait until the world sees it:\n\n  smtpguard dkim check --domain %s --selector %s --key %s\n",
        o->domain, o->selector, file);
}

static int generate(struct arena *mem, const struct dkim_options *o, enum dkim_private_type type)
{
    struct dkim_private *key = dkim_private_generate(type);
    const char *name = dkim_key_name(mem, o->selector, o->domain), *record = dkim_private_record(mem, key);
    const char *file = str_fmt(mem, "%s/%s.private", o->dir != NULL ? o->dir : ".", o->selector);
    const char *zone = dkim_record_as_zone(mem, name, record);
    struct fail fail;
    int code = CLI_FINE;

    if (dkim_private_write(key, file, &fail) < 0) {
        fprintf(stderr, "smtpguard: %s\n", fail.text);
        code = CLI_BAD_INPUT;
    } else if (o->json) {
        print_json(file, name, record, zone);
    } else {
        print_text(o, file, name, record, zone);
    }
    dkim_private_free(&key);
    return code;
}

int cli_dkim_genkey(int argc, char **argv)
{
    struct arena *mem = arena_new(0);
    enum dkim_private_type type;
    struct dkim_options o;
    int code = dkim_options_read(mem, words, "json type domain selector dir", argc, argv, &o);

    if (code == CLI_FINE && o.operand != NULL)
        code = cli_usage(words, "\"%s\" is one word too many", o.operand);
    if (code == CLI_FINE)
        code = dkim_options_need_name(words, &o);
    if (code == CLI_FINE)
        code = type_of(o.type, &type);
    if (code == CLI_FINE)
        code = generate(mem, &o, type);
    arena_free(&mem);
    return code;
}
