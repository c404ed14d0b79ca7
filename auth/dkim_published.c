#include "auth/dkim_published.h"

enum { RSA_BITS_MIN = 1024, RSA_BITS_GOOD = 2048, RSA_BITS_MAX = 4096 };

const char *dkim_published_name(enum dkim_published_state state)
{
    static const char *const names[] = {
        [DKIM_PUBLISHED] = "published",  [DKIM_UNPUBLISHED] = "unpublished", [DKIM_OTHER_KEY] = "other-key",
        [DKIM_REVOKED] = "revoked",      [DKIM_BROKEN] = "broken",           [DKIM_AMBIGUOUS] = "ambiguous",
        [DKIM_UNANSWERED] = "unanswered"};

    return names[state];
}

static struct dkim_published say(enum dkim_published_state state, const char *reason)
{
    return (struct dkim_published){.state = state, .reason = reason};
}

static const char *warning_of(const struct dkim_key *record)
{
    if (record->testing)
        return "the record has t=y: verifiers treat the mail as if it were not signed";
    if (!record->ed25519 && record->bits < RSA_BITS_GOOD)
        return "the RSA key has fewer than 2048 bits";
    return NULL;
}

static bool is_revoked(struct str text)
{
    const struct dkim_tag *p;
    struct dkim_tags tags;

    if (dkim_tags_parse(text, &tags) != NULL)
        return false;
    p = dkim_tags_find(&tags, "p");
    return p != NULL && p->value.n == 0;
}

static struct dkim_published judge_record(const struct dkim_private *key, const struct dkim_key *record)
{
    struct dkim_published found = say(DKIM_PUBLISHED, "the DNS shows a key that verifiers can use");

    found.ed25519 = record->ed25519;
    found.bits = record->bits;
    found.warning = warning_of(record);
    if (!record->ed25519 && (record->bits < RSA_BITS_MIN || record->bits > RSA_BITS_MAX))
        return say(DKIM_BROKEN, "verifiers take RSA keys of 1024 to 4096 bits");
    if (key == NULL)
        return found;
    found.reason = "the DNS shows this key";
    if (dkim_private_fits(key, record))
        return found;
    found.state = DKIM_OTHER_KEY;
    found.reason = "the DNS shows another key than this file holds";
    return found;
}

struct dkim_published dkim_published_judge(const struct dkim_private *key, const struct dns_answer *answer)
{
    struct dkim_published found;
    struct dkim_key *record;

    if (dns_is_temporary(answer->status))
        return say(DKIM_UNANSWERED, "the DNS did not answer");
    if (answer->status == DNS_NXDOMAIN)
        return say(DKIM_UNPUBLISHED, "the name does not exist");
    if (answer->status != DNS_OK || answer->count == 0)
        return say(DKIM_UNPUBLISHED, "there is no TXT record at the name");
    if (answer->count > 1)
        return say(DKIM_AMBIGUOUS,
                   "there are several TXT records: which of them a verifier takes is left to chance");
    if (is_revoked(answer->records[0].text))
        return say(DKIM_REVOKED, "the key is revoked: p= is empty");
    record = dkim_key_new(answer->records[0].text);
    found = record->fault != NULL ? say(DKIM_BROKEN, record->fault) : judge_record(key, record);
    dkim_key_free(&record);
    return found;
}
