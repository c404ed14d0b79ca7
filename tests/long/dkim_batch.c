/*
 * Signs and verifies in bulk, for tests/long/dkim_differential.py and dkim_mailauth.py.
 *
 * dkim_batch ZONEFILE DOMAIN SELECTOR=KEYFILE …        (a zone file, or a dns.json of the conformance suites)
 * "verify LENGTH\n" and a message: "LENGTH\n" and "RESULT REASON" of its topmost signature.
 * "arc LENGTH\n" and a message: "RESULT REASON" of its chain.
 * "sign SELECTOR HEADER/BODY OVERSIGN[,…] LENGTH\n" and a message: the field, or "!" and why there is none.
 */
#include "auth/arc.h"
#include "auth/dkim.h"
#include "auth/dkim_sign.h"

#include "base/bug.h"
#include "tests/fakedns.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_MAX = 4 * 1024 * 1024, KEYS_MAX = 8, NAMES_MAX = 16 };

struct batch {
    struct arena *mem; /* of one message */
    struct fakedns *dns;
    struct dkim_keys *cache;
    struct dkim_sign_key keys[KEYS_MAX];
    struct dkim_private *private[KEYS_MAX];
    size_t keys_count;
    struct header header;
    struct str body;
    const char *said;
};

static void answer(struct str text)
{
    printf("%zu\n%.*s", text.n, STR_ARG(text));
    fflush(stdout);
}

static void on_verified(const struct dkim_answer *found, void *arg)
{
    struct batch *b = arg;
    const struct dkim_signature *first = found->signatures;

    b->said =
        found->count == 0 ? "none" : str_fmt(b->mem, "%s %s", dkim_result_name(first->result), first->reason);
}

static const char *verify(struct batch *b)
{
    const struct dkim_settings settings = {MODE_ENFORCE, 1024, 6, DKIM_SHA1_POLICY};
    struct dkim_verifier *v = dkim_verify_start(b->mem, fakedns_dns(b->dns), b->cache, &settings, &b->header,
                                                NULL, clock_unix(clock_system()));

    for (struct str rest = b->body; rest.n > 0; rest = str_from(rest, 1000))
        dkim_verify_body(v, str_upto(rest, 1000));
    dkim_verify_end(v, on_verified, b);
    fakedns_run(b->dns);
    dkim_verify_cancel(&v);
    return b->said;
}

static void on_chain(const struct arc_answer *found, void *arg)
{
    struct batch *b = arg;

    b->said = str_fmt(b->mem, "%s %s", arc_result_name(found->result), found->reason);
}

static const char *verify_chain(struct batch *b)
{
    const struct arc_settings settings = {MODE_ENFORCE, 50, 1024};
    struct arc_verifier *v = arc_verify_start(b->mem, fakedns_dns(b->dns), b->cache, &settings, &b->header,
                                              clock_unix(clock_system()));

    arc_verify_body(v, b->body);
    arc_verify_end(v, on_chain, b);
    fakedns_run(b->dns);
    arc_verify_cancel(&v);
    return b->said;
}

static enum dkim_canon canon_of(struct str word)
{
    return str_eq_z(word, "relaxed") ? DKIM_RELAXED : DKIM_SIMPLE;
}

static struct str sign(struct batch *b, const struct dkim_sign_key *key, const char *canon,
                       const char *oversign)
{
    struct dkim_sign_settings settings = {.with_time = true};
    struct str header_canon, body_canon, name, rest = str_of(oversign);
    const char *names[NAMES_MAX], *why;
    struct dkim_signer *s;

    str_cut(str_of(canon), '/', &header_canon, &body_canon);
    settings.header_canon = canon_of(header_canon);
    settings.body_canon = canon_of(body_canon);
    settings.oversign = names;
    for (bool more = true; more && settings.oversign_count < NAMES_MAX;) {
        more = str_cut(rest, ',', &name, &rest);
        names[settings.oversign_count++] = str_dup(b->mem, name);
    }
    s = dkim_sign_start(b->mem, &settings, &b->header, key, 1, clock_unix(clock_system()), &why);
    if (s == NULL)
        return str_of(str_fmt(b->mem, "!%s", why));
    for (rest = b->body; rest.n > 0; rest = str_from(rest, 777))
        dkim_sign_body(s, str_upto(rest, 777));
    return dkim_sign_end(&s);
}

static bool read_message(struct batch *b, size_t n)
{
    char *bytes = arena_alloc(b->mem, n + 1);
    struct str message = str_make(bytes, n);
    size_t end;

    if (n > MESSAGE_MAX || fread(bytes, 1, n, stdin) != n)
        return false;
    end = header_end(message, 0);
    b->body = end == SIZE_MAX ? STR("") : str_from(message, end + 2);
    return header_parse(b->mem, str_upto(message, end), 1000, &b->header) == HEADER_OK;
}

static const struct dkim_sign_key *key_of(const struct batch *b, const char *selector)
{
    for (size_t i = 0; i < b->keys_count; i++)
        if (strcmp(b->keys[i].selector, selector) == 0)
            return &b->keys[i];
    return NULL;
}

static void serve(struct batch *b)
{
    char line[512], selector[64], canon[32], oversign[256];
    size_t n;

    while (fgets(line, sizeof(line), stdin) != NULL) {
        b->mem = arena_new(0);
        if (sscanf(line, "verify %zu", &n) == 1)
            answer(read_message(b, n) ? str_of(verify(b)) : STR("unread the header is broken"));
        else if (sscanf(line, "arc %zu", &n) == 1)
            answer(read_message(b, n) ? str_of(verify_chain(b)) : STR("unread the header is broken"));
        else if (sscanf(line, "sign %63s %31s %255s %zu", selector, canon, oversign, &n) == 4)
            answer(read_message(b, n) ? sign(b, key_of(b, selector), canon, oversign) : STR("!unread"));
        else
            bug("what is %s", line);
        arena_free(&b->mem);
    }
}

static void load_key(struct batch *b, struct arena *mem, const char *domain, const char *argument)
{
    struct dkim_sign_key *key = &b->keys[b->keys_count];
    struct str selector, path;
    const char *warning;
    struct fail fail;

    str_cut(str_of(argument), '=', &selector, &path);
    b->private[b->keys_count] = dkim_private_read(mem, str_dup(mem, path), &warning, &fail);
    if (b->private[b->keys_count] == NULL)
        bug("%s", fail.text);
    *key = (struct dkim_sign_key){domain, str_dup(mem, selector), NULL, b->private[b->keys_count]};
    b->keys_count++;
}

static void load_zone(struct fakedns *dns, const char *path)
{
    json_t *zone;

    if (!str_ends_same(str_of(path), STR(".json"))) {
        fakedns_add_file(dns, path);
        return;
    }
    zone = json_load_file(path, 0, NULL);
    if (zone == NULL)
        bug("cannot read %s", path);
    fakedns_add_json(dns, zone);
    json_decref(zone);
}

int main(int argc, char **argv)
{
    struct batch b = {.dns = fakedns_new(), .cache = dkim_keys_new(100, clock_system())};
    struct arena *mem = arena_new(0);

    if (argc < 3 || argc > 3 + KEYS_MAX) {
        fputs("dkim_batch ZONEFILE DOMAIN SELECTOR=KEYFILE …\n", stderr);
        return 64;
    }
    load_zone(b.dns, argv[1]);
    for (int i = 3; i < argc; i++)
        load_key(&b, mem, argv[2], argv[i]);
    serve(&b);
    for (size_t i = 0; i < b.keys_count; i++)
        dkim_private_free(&b.private[i]);
    dkim_keys_free(&b.cache);
    fakedns_free(&b.dns);
    arena_free(&mem);
    return 0;
}
