#include "auth/dkim_sign.h"

#include "base/clock.h"
#include "base/json.h"
#include "cli/dkim_options.h"
#include "cli/test_message.h"

#include <string.h>

enum { ANSWER_BYTES_MAX = 1024 * 1024, OVERSIGN_MAX = 64 };

static const char words[] = "dkim sign";

/* What the settings have by default (dkim.sign.oversign). */
static const char oversign_default[] = "from,to,cc,subject,date,message-id,reply-to";

static int set_canonicalization(const char *text, struct dkim_sign_settings *settings)
{
    struct str header, body;

    settings->header_canon = settings->body_canon = DKIM_RELAXED;
    if (text == NULL)
        return CLI_FINE;
    str_cut(str_of(text), '/', &header, &body);
    if ((!str_eq_z(header, "relaxed") && !str_eq_z(header, "simple")) ||
        (!str_eq_z(body, "relaxed") && !str_eq_z(body, "simple")))
        return cli_usage(words, "--canonicalization: \"%s\" is not (relaxed|simple)/(relaxed|simple)", text);
    settings->header_canon = str_eq_z(header, "relaxed") ? DKIM_RELAXED : DKIM_SIMPLE;
    settings->body_canon = str_eq_z(body, "relaxed") ? DKIM_RELAXED : DKIM_SIMPLE;
    return CLI_FINE;
}

static int set_oversign(struct arena *mem, const char *text, struct dkim_sign_settings *settings)
{
    const char **names = ARENA_ARRAY(mem, const char *, OVERSIGN_MAX);
    struct str name, rest = str_of(text != NULL ? text : oversign_default);
    bool more = rest.n > 0;

    settings->oversign = names;
    while (more) {
        more = str_cut(rest, ',', &name, &rest);
        name = str_trim(name);
        for (size_t i = 0; i < name.n; i++)
            if ((uint8_t)name.p[i] <= ' ' || (uint8_t)name.p[i] >= 0x7f || name.p[i] == ':' ||
                name.p[i] == ';')
                return cli_usage(words, "--oversign: \"%.*s\" is no field name", STR_ARG(name));
        if (name.n == 0 || settings->oversign_count == OVERSIGN_MAX)
            return cli_usage(words, "--oversign: up to %d field names with commas between", OVERSIGN_MAX);
        names[settings->oversign_count++] = str_dup(mem, name);
    }
    return CLI_FINE;
}

/* Line ends as the message came with: a file of LF lines stays one. */
static void print_bytes(struct str bytes, bool lf)
{
    struct str line, rest = bytes;

    if (!lf) {
        fwrite(bytes.p, 1, bytes.n, stdout);
        return;
    }
    while (rest.n > 0) {
        bool ended = str_cut(rest, '\n', &line, &rest);

        if (ended && line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        fwrite(line.p, 1, line.n, stdout);
        if (ended)
            putchar('\n');
    }
}

static void print_json(struct str field)
{
    struct buf out;
    struct json j;

    buf_init(&out, ANSWER_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    json_put_bool(&j, "signed", field.n > 0);
    json_put_str(&j, "field", field);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

static int sign(struct arena *mem, const struct dkim_options *o, const struct dkim_sign_settings *settings,
                const struct dkim_private *private, const struct test_message *m)
{
    struct dkim_sign_key key = {o->domain, o->selector, o->identity, private};
    int64_t now_unix = o->now_unix >= 0 ? o->now_unix : clock_unix(clock_system());
    const char *why;
    struct dkim_signer *signer = dkim_sign_start(mem, settings, &m->header, &key, 1, now_unix, &why);
    struct str field;

    if (signer == NULL) {
        fprintf(stderr, "smtpguard: not signed: %s\n", why);
        return CLI_BAD_INPUT;
    }
    dkim_sign_body(signer, m->body);
    field = dkim_sign_end(&signer);
    if (field.n == 0)
        fputs("smtpguard: the message carries a valid signature by this key already\n", stderr);
    if (o->json) {
        print_json(field);
        return CLI_FINE;
    }
    print_bytes(field, m->lf);
    print_bytes(buf_str(&m->bytes), m->lf);
    return CLI_FINE;
}

static int read_and_sign(struct arena *mem, const struct dkim_options *o,
                         const struct dkim_sign_settings *settings)
{
    struct dkim_private *private = dkim_options_key(mem, o->key);
    struct test_message message = {0};
    struct fail fail;
    int code = CLI_BAD_INPUT;

    if (private == NULL)
        return CLI_BAD_INPUT;
    if (test_message_read(mem, o->operand != NULL ? o->operand : "-", &message, &fail) < 0)
        fprintf(stderr, "smtpguard: %s\n", fail.text);
    else
        code = sign(mem, o, settings, private, &message);
    test_message_fini(&message);
    dkim_private_free(&private);
    return code;
}

int cli_dkim_sign(int argc, char **argv)
{
    static const char allowed[] = "json domain selector key canonicalization identity oversign now expire";
    struct dkim_sign_settings settings = {.with_time = true};
    struct arena *mem = arena_new(0);
    struct dkim_options o;
    int code = dkim_options_read(mem, words, allowed, argc, argv, &o);

    if (code == CLI_FINE)
        code = dkim_options_need_name(words, &o);
    if (code == CLI_FINE && o.key == NULL)
        code = cli_usage(words, "which --key?");
    if (code == CLI_FINE)
        code = set_canonicalization(o.canonicalization, &settings);
    if (code == CLI_FINE)
        code = set_oversign(mem, o.oversign, &settings);
    settings.valid_s = (int64_t)o.expire_s;
    if (code == CLI_FINE)
        code = read_and_sign(mem, &o, &settings);
    arena_free(&mem);
    return code;
}
