#include "auth/dkim_judge.h"

enum {
    RECORDS_TRIED = 4,   /* key records of one name */
    RSA_BITS_MAX = 4096, /* RFC 8301 3.2 wants these; what is longer only costs time */
};

static void settle(struct dkim_verdict *verdict, enum dkim_result result, const char *reason)
{
    verdict->result = result;
    verdict->reason = reason;
}

static struct dkim_verdict judge_by_key(const struct dkim_claim *claim, const struct dkim_key *key)
{
    const struct dkim_field *field = claim->field;
    struct dkim_verdict verdict = {.bits = key->bits, .testing = key->testing};

    if (key->fault != NULL)
        settle(&verdict, DKIM_PERMERROR, key->fault);
    else if (key->ed25519 != (field->algorithm == DKIM_ED25519_SHA256))
        settle(&verdict, DKIM_PERMERROR, "the key is of another type than a=");
    else if (key->strict && field->below_domain)
        settle(&verdict, DKIM_PERMERROR, "the key demands that i= is at d= itself");
    else if (!key->ed25519 && key->bits < claim->min_rsa_bits)
        settle(&verdict, DKIM_POLICY, "the RSA key is too short");
    else if (!key->ed25519 && key->bits > RSA_BITS_MAX)
        settle(&verdict, DKIM_POLICY, "the RSA key is too long");
    else if (!dkim_key_verify(key, claim->header_digest, field->signature, field->signature_bytes))
        settle(&verdict, DKIM_FAIL, "the signature does not fit the header");
    else
        settle(&verdict, DKIM_PASS, "");
    return verdict;
}

static struct dkim_verdict judge_by_record(const struct dkim_claim *claim, struct dkim_keys *keys,
                                           struct str record)
{
    struct dkim_key *own = keys == NULL ? dkim_key_new(record) : NULL;
    struct dkim_verdict verdict = judge_by_key(claim, own != NULL ? own : dkim_keys_get(keys, record));

    dkim_key_free(&own);
    return verdict;
}

/* Of several records any may be the key, and a stray TXT is none: the first that verifies decides, else the
 * first that was a key at all, so that the order of an answer does not matter (RFC 6376 6.1.2, step 4). */
static struct dkim_verdict judge_by_records(const struct dkim_claim *claim, struct dkim_keys *keys,
                                            const struct dns_answer *found)
{
    struct dkim_verdict best = judge_by_record(claim, keys, found->records[0].text);

    for (size_t i = 1; i < found->count && i < RECORDS_TRIED && best.result != DKIM_PASS; i++) {
        struct dkim_verdict tried = judge_by_record(claim, keys, found->records[i].text);

        if (tried.result == DKIM_PASS || (best.result == DKIM_PERMERROR && tried.result != DKIM_PERMERROR))
            best = tried;
    }
    return best;
}

struct dkim_verdict dkim_judge(const struct dkim_claim *claim, struct dkim_keys *keys,
                               const struct dns_answer *found)
{
    struct dkim_verdict verdict = {0};

    if (found->status == DNS_OK)
        return judge_by_records(claim, keys, found);
    if (dns_is_temporary(found->status))
        settle(&verdict, DKIM_TEMPERROR, "the DNS did not answer for the key");
    else
        settle(&verdict, DKIM_PERMERROR, "there is no key");
    return verdict;
}

const char *dkim_key_name(struct arena *mem, const char *selector, const char *domain)
{
    return str_fmt(mem, "%s._domainkey.%s", selector, domain);
}
