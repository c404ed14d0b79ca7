#include "base/json.h"
#include "auth/dkim_judge.h"
#include "auth/dkim_published.h"
#include "cli/dkim_options.h"

enum { ANSWER_BYTES_MAX = 1024 * 1024 };

static const char words[] = "dkim check";

struct run {
    struct cli_lookup lookup;
    const struct dkim_options *options;
    const struct dkim_private *key; /* NULL: only the record is judged */
    const char *name;
    struct dkim_published found;
    const char **records; /* what the DNS shows */
    size_t count;
    uint32_t ttl_s;
};

/* What strangers publish must not reach the terminal as it is. */
static const char *printable(struct arena *mem, struct str text)
{
    char *copy = str_dup(mem, text);

    for (size_t i = 0; i < text.n; i++)
        if (copy[i] < ' ' || copy[i] > '~')
            copy[i] = '?';
    return copy;
}

static void on_answer(const struct dns_answer *answer, void *arg)
{
    struct run *r = arg;

    r->found = dkim_published_judge(r->key, answer);
    r->count = answer->status == DNS_OK ? answer->count : 0;
    r->ttl_s = answer->ttl_s;
    r->records = ARENA_ARRAY(r->lookup.mem, const char *, r->count);
    for (size_t i = 0; i < r->count; i++)
        r->records[i] = printable(r->lookup.mem, answer->records[i].text);
    loop_stop(r->lookup.loop);
}

/* What to do about it, for each state. */
static const char *advice(const struct run *r)
{
    switch (r->found.state) {
    case DKIM_PUBLISHED:
        return r->key != NULL ? "it can sign" : "give --key FILE to compare it with a private key";
    case DKIM_UNPUBLISHED:
        return "publish the record and wait until the TTL of this answer has passed; do not sign before";
    case DKIM_OTHER_KEY:
        return "a signature by this file would fail everywhere; use a new selector for a new key";
    case DKIM_REVOKED:
        return "nothing signed by this key is believed any more";
    case DKIM_BROKEN:
        return "a signature would fail everywhere; publish the record again (smtpguard dkim txt KEYFILE)";
    case DKIM_AMBIGUOUS:
        return "remove all records but one";
    case DKIM_UNANSWERED:
        break;
    }
    return "this says nothing about the key; ask again later";
}

static void print_json(const struct run *r)
{
    struct buf out;
    struct json j;

    buf_init(&out, ANSWER_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    json_put_z(&j, "state", dkim_published_name(r->found.state));
    json_put_z(&j, "name", r->name);
    json_put_z(&j, "reason", r->found.reason);
    json_put_z(&j, "warning", r->found.warning);
    json_put_z(&j, "advice", advice(r));
    json_put_z(&j, "type", r->found.bits == 0 ? NULL : r->found.ed25519 ? "ed25519" : "rsa");
    json_put_int(&j, "bits", r->found.bits);
    json_put_int(&j, "ttl", r->ttl_s);
    json_key(&j, "records");
    json_array(&j);
    for (size_t i = 0; i < r->count; i++)
        json_z(&j, r->records[i]);
    json_array_end(&j);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

static void print_text(const struct run *r)
{
    printf("  asked   %s\n", r->name);
    for (size_t i = 0; i < r->count; i++)
        printf("  record  %s\n", r->records[i]);
    if (r->found.bits > 0)
        printf("  key     %s, %u bits\n", r->found.ed25519 ? "Ed25519" : "RSA", r->found.bits);
    printf("  state   %s: %s\n", dkim_published_name(r->found.state), r->found.reason);
    if (r->found.warning != NULL)
        printf("  but     %s\n", r->found.warning);
    printf("  so      %s\n", advice(r));
}

static int ask(struct run *r)
{
    const struct dkim_options *o = r->options;

    r->name = dkim_key_name(r->lookup.mem, o->selector, o->domain);
    dns_query(r->lookup.dns, DNS_TXT, r->name, on_answer, r);
    loop_run(r->lookup.loop);
    if (o->json)
        print_json(r);
    else
        print_text(r);
    if (r->found.state == DKIM_UNANSWERED)
        return CLI_TEMPORARY;
    return r->found.state == DKIM_PUBLISHED ? CLI_FINE : CLI_NO;
}

static int check(const struct dkim_options *o, const struct dkim_private *key)
{
    struct run r = {.options = o, .key = key};
    int code = cli_lookup_open(&r.lookup, o->config_file, o->dns);

    if (code != CLI_FINE)
        return code;
    return cli_lookup_end(&r.lookup, ask(&r));
}

int cli_dkim_check(int argc, char **argv)
{
    struct arena *mem = arena_new(0);
    struct dkim_private *key = NULL;
    struct dkim_options o;
    int code = dkim_options_read(mem, words, "json config dns domain selector key", argc, argv, &o);

    if (code == CLI_FINE && o.operand != NULL)
        code = cli_usage(words, "\"%s\" is one word too many", o.operand);
    if (code == CLI_FINE)
        code = dkim_options_need_name(words, &o);
    if (code == CLI_FINE && o.key != NULL && (key = dkim_options_key(mem, o.key)) == NULL)
        code = CLI_BAD_INPUT;
    if (code == CLI_FINE)
        code = check(&o, key);
    dkim_private_free(&key);
    arena_free(&mem);
    return code;
}
