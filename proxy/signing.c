#include "proxy/signing.h"

#include "base/bug.h"
#include "base/log.h"
#include "smtp/mailbox.h"

#include <stdlib.h>

enum { WATCH_MS = 3600 * 1000, UNSEEN_MS = 60 * 1000, FIELDS_MAX = 1000 };

struct watched {
    struct signing_watch *watch;
    size_t index;
    struct dkim_sign_key key;
    const char *name; /* of its record */
    struct dns_token *token;
    struct timer again;
};

struct signing_watch {
    struct loop *loop;
    struct dns *dns;
    struct dkim_keyring *ring;
    struct arena *mem;
    size_t count;
    struct watched *keys;
};

/* ---- the keys that the world can see ---- */

static void look(void *arg);

static void on_record(const struct dns_answer *answer, void *arg)
{
    struct watched *key = arg;
    struct dkim_published found = dkim_published_judge(key->key.key, answer);
    bool fine = found.state == DKIM_PUBLISHED;

    key->token = NULL;
    if (dkim_keyring_seen(key->watch->ring, key->index, found.state))
        log_note(fine ? LOG_INFO : LOG_ERROR, fine ? "dkim-key.seen" : "dkim-key.unseen", "%s: %s", key->name,
                 found.reason);
    timer_start(&key->again, key->watch->loop, fine ? WATCH_MS : UNSEEN_MS, look, key);
}

static void look(void *arg)
{
    struct watched *key = arg;

    key->token = dns_query(key->watch->dns, DNS_TXT, key->name, on_record, key);
}

struct signing_watch *signing_watch_start(struct loop *loop, struct dns *dns, struct dkim_keyring *ring)
{
    struct arena *mem = arena_new(0);
    struct signing_watch *watch = ARENA_NEW(mem, struct signing_watch);
    struct dkim_sign_key key;

    *watch = (struct signing_watch){.loop = loop, .dns = dns, .ring = dkim_keyring_ref(ring), .mem = mem};
    while (dkim_keyring_key(ring, watch->count, &key))
        watch->count++;
    watch->keys = ARENA_ARRAY(mem, struct watched, watch->count);
    for (size_t i = 0; i < watch->count; i++) {
        watch->keys[i] = (struct watched){.watch = watch, .index = i};
        dkim_keyring_key(ring, i, &watch->keys[i].key);
        watch->keys[i].name =
            str_fmt(mem, "%s._domainkey.%s", watch->keys[i].key.selector, watch->keys[i].key.domain);
        look(&watch->keys[i]);
    }
    return watch;
}

void signing_watch_stop(struct signing_watch **watch)
{
    struct signing_watch *w = *watch;
    struct arena *mem;

    *watch = NULL;
    if (w == NULL)
        return;
    for (size_t i = 0; i < w->count; i++) {
        dns_cancel(&w->keys[i].token);
        timer_stop(&w->keys[i].again);
    }
    dkim_keyring_unref(&w->ring);
    mem = w->mem;
    arena_free(&mem);
}

/* ---- a message ---- */

static struct dkim_sign_settings settings_of(const struct dkim_keyring_settings *settings)
{
    return (struct dkim_sign_settings){
        .header_canon = settings->canonicalization & 2 ? DKIM_SIMPLE : DKIM_RELAXED,
        .body_canon = settings->canonicalization & 1 ? DKIM_SIMPLE : DKIM_RELAXED,
        .oversign = settings->oversign,
        .oversign_count = settings->oversign_count,
        .with_time = true,
        .valid_s = settings->valid_s,
    };
}

static bool find_author(struct arena *mem, const struct header *header, struct mailbox *author_out,
                        const char **why_out)
{
    const struct header_field *from = header_find(header, "from");
    struct mailbox_list authors;

    *why_out = "there is no From field";
    if (from == NULL)
        return false;
    switch (mailbox_list_parse(mem, from->value, &authors, why_out)) {
    case MAILBOX_FOUND:
        *author_out = authors.boxes[0];
        return true;
    case MAILBOX_EMPTY:
        *why_out = "the From field names nobody";
        break;
    case MAILBOX_INVALID:
        break;
    }
    return false;
}

/* The first author's domain is whom the signature is to speak for (RFC 6376 6.3). */
struct dkim_signer *signing_start(struct arena *mem, struct dkim_keyring *ring,
                                  const struct dkim_keyring_settings *settings, const struct header *header,
                                  int64_t now_unix, const char **why_out)
{
    struct dkim_sign_settings *how = ARENA_NEW(mem, struct dkim_sign_settings);
    struct dkim_sign_key keys[DKIM_TABLE_FOUND_MAX];
    struct mailbox author;
    bool hidden;
    size_t count;

    if (!find_author(mem, header, &author, why_out))
        return NULL;
    count = dkim_keyring_find(ring, mem, author.local, author.domain, keys, &hidden);
    *why_out = hidden ? "the DNS does not show the key" : NULL;
    if (count == 0)
        return NULL;
    *how = settings_of(settings);
    return dkim_sign_start(mem, how, header, keys, count, now_unix, why_out);
}

struct str signing_whole(struct arena *mem, struct dkim_keyring *ring,
                         const struct dkim_keyring_settings *settings, struct str message, int64_t now_unix)
{
    size_t end = header_end(message, 0);
    struct header header;
    struct dkim_signer *signer;
    const char *why;

    if (end == SIZE_MAX || header_parse(mem, str_upto(message, end), FIELDS_MAX, &header) != HEADER_OK)
        return STR("");
    signer = signing_start(mem, ring, settings, &header, now_unix, &why);
    if (signer == NULL)
        return STR("");
    dkim_sign_body(signer, str_from(message, end + 2));
    return dkim_sign_end(&signer);
}
