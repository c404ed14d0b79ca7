#include <jansson.h>

#include "proxy/decision.h"

#include <string.h>

/* A record may be anybody's words by the time it is read, and those of another version: what is missing or odd is as if
 * it had not been asked, and nothing is trusted to be there. */

/* ---- values ---- */

/* Never NULL. */
static const char *text_at(struct arena *mem, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_string(value) ? str_dup(mem, str_make(json_string_value(value), json_string_length(value)))
                                 : "";
}

static const char *text_or_null(struct arena *mem, const json_t *object, const char *key)
{
    const char *text = text_at(mem, object, key);

    return *text != '\0' ? text : NULL;
}

static int64_t number_at(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key)); /* 0 of all that is no number */
}

static uint32_t ms_at(const json_t *object, const char *key)
{
    int64_t ms = number_at(object, key);

    return ms < 0 ? 0 : ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static bool flag_at(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static struct ip ip_at(struct arena *mem, const json_t *object, const char *key)
{
    struct ip ip = {0};

    return ip_parse(str_of(text_at(mem, object, key)), &ip) ? ip : (struct ip){0};
}

/* The words of an enum by their number. */
typedef const char *word_fn(int i);

#define WORDS_OF(name, type)                                                                                 \
    static const char *name##_word(int i)                                                                    \
    {                                                                                                        \
        return name((type)i);                                                                                \
    }
WORDS_OF(action_name, enum action)
WORDS_OF(rdns_state_name, enum rdns_state)
WORDS_OF(helo_form_name, enum helo_form)
WORDS_OF(sender_domain_name, enum sender_domain)
WORDS_OF(spf_result_name, enum spf_result)
WORDS_OF(dkim_result_name, enum dkim_result)
WORDS_OF(arc_result_name, enum arc_result)
WORDS_OF(dmarc_result_name, enum dmarc_result)
WORDS_OF(dmarc_policy_name, enum dmarc_policy)
WORDS_OF(dmarc_found_name, enum dmarc_found)
WORDS_OF(dnsbl_result_name, enum dnsbl_result)
WORDS_OF(grey_verdict_name, enum grey_verdict)
WORDS_OF(smtp_data_fault_name, enum smtp_data_fault)

/* Which of the words 0 to `last` it is; else `otherwise`. */
static int word_at(const json_t *object, const char *key, word_fn *word, int last, int otherwise)
{
    const char *text = json_string_value(json_object_get(object, key));

    for (int i = 0; text != NULL && i <= last; i++)
        if (strcmp(text, word(i)) == 0)
            return i;
    return otherwise;
}

/* ---- what checks found ---- */

static void read_hit(struct arena *mem, const json_t *object, struct dnsbl_hit *hit)
{
    struct dnsbl_list *list = ARENA_NEW(mem, struct dnsbl_list);

    list->zone = text_at(mem, object, "zone");
    list->score = (int)number_at(object, "score");
    hit->list = list;
    hit->result = word_at(object, "result", dnsbl_result_name_word, DNSBL_NOT_ASKED, DNSBL_NOT_ASKED);
    hit->code = ip_at(mem, object, "code");
    hit->name = text_or_null(mem, object, "name");
}

static const struct dnsbl_answer *read_lists(struct arena *mem, const json_t *object, uint32_t *ms_out)
{
    struct dnsbl_answer *answer;
    struct dnsbl_hit *hits;
    const json_t *lists;

    if (!json_is_object(object))
        return NULL;
    *ms_out = ms_at(object, "ms");
    lists = json_object_get(object, "lists");
    answer = ARENA_NEW(mem, struct dnsbl_answer);
    hits = ARENA_ARRAY(mem, struct dnsbl_hit, json_array_size(lists) + 1);
    answer->score = (int)number_at(object, "score");
    answer->hits = hits;
    for (; answer->count < json_array_size(lists); answer->count++)
        read_hit(mem, json_array_get(lists, answer->count), &hits[answer->count]);
    return answer;
}

static const struct spf_answer *read_spf(struct arena *mem, const json_t *object, enum spf_scope scope,
                                         uint32_t *ms_out)
{
    struct spf_answer *spf;

    if (!json_is_object(object))
        return NULL;
    spf = ARENA_NEW(mem, struct spf_answer);
    *ms_out = ms_at(object, "ms");
    *spf = (struct spf_answer){
        .result = word_at(object, "result", spf_result_name_word, SPF_PERMERROR, SPF_TEMPERROR),
        .scope = scope,
        .domain = text_at(mem, object, "domain"),
        .mechanism = text_or_null(mem, object, "mechanism"),
        .explanation = text_at(mem, object, "explanation"),
        .reason = text_at(mem, object, "reason"),
        .lookups = (unsigned)number_at(object, "lookups"),
        .void_lookups = (unsigned)number_at(object, "void_lookups"),
    };
    return spf;
}

static struct dkim_signature read_signature(struct arena *mem, const json_t *object)
{
    return (struct dkim_signature){
        .result = word_at(object, "result", dkim_result_name_word, DKIM_PERMERROR, DKIM_NONE),
        .domain = text_at(mem, object, "domain"),
        .selector = text_at(mem, object, "selector"),
        .identity = "",
        .algorithm = text_at(mem, object, "algorithm"),
        .bits = (unsigned)number_at(object, "bits"),
        .testing = flag_at(object, "testing"),
        .partial = flag_at(object, "partial"),
        .reason = text_at(mem, object, "reason"),
    };
}

static const struct dkim_answer *read_dkim(struct arena *mem, const json_t *object, uint32_t *ms_out)
{
    const json_t *told = json_object_get(object, "signatures");
    struct dkim_signature *signatures;
    struct dkim_answer *dkim;

    if (!json_is_object(object))
        return NULL;
    *ms_out = ms_at(object, "ms");
    dkim = ARENA_NEW(mem, struct dkim_answer);
    signatures = ARENA_ARRAY(mem, struct dkim_signature, json_array_size(told) + 1);
    dkim->signatures = signatures;
    for (; dkim->count < json_array_size(told); dkim->count++)
        signatures[dkim->count] = read_signature(mem, json_array_get(told, dkim->count));
    return dkim;
}

static struct arc_set read_set(struct arena *mem, const json_t *object)
{
    return (struct arc_set){.seal_domain = text_at(mem, object, "sealer"),
                            .seal_selector = "",
                            .message_domain = "",
                            .dmarc = text_at(mem, object, "dmarc"),
                            .dmarc_from = text_at(mem, object, "from")};
}

static const struct arc_answer *read_arc(struct arena *mem, const json_t *object, uint32_t *ms_out)
{
    const json_t *told = json_object_get(object, "sets");
    struct arc_answer *arc;
    struct arc_set *sets;

    if (!json_is_object(object))
        return NULL;
    *ms_out = ms_at(object, "ms");
    arc = ARENA_NEW(mem, struct arc_answer);
    sets = ARENA_ARRAY(mem, struct arc_set, json_array_size(told) + 1);
    arc->result = word_at(object, "result", arc_result_name_word, ARC_TEMPERROR, ARC_NONE);
    arc->sealer = text_at(mem, object, "sealer");
    arc->reason = text_at(mem, object, "reason");
    arc->sets = sets;
    for (; arc->instances < json_array_size(told); arc->instances++)
        sets[arc->instances] = read_set(mem, json_array_get(told, arc->instances));
    return arc;
}

static const struct dmarc_record *read_policy(struct arena *mem, const json_t *object)
{
    struct dmarc_record *record;

    if (json_object_get(object, "published") == NULL)
        return NULL;
    record = ARENA_NEW(mem, struct dmarc_record);
    record->policy =
        word_at(object, "published", dmarc_policy_name_word, DMARC_POLICY_REJECT, DMARC_POLICY_NONE);
    record->testing = flag_at(object, "testing");
    record->adkim_strict = flag_at(object, "adkim_strict");
    record->aspf_strict = flag_at(object, "aspf_strict");
    return record;
}

static void read_dmarc(struct arena *mem, const json_t *object, struct message_facts *f, uint32_t *ms_out)
{
    struct dmarc_evaluation *dmarc;
    struct dmarc_discovery *found;

    if (!json_is_object(object))
        return;
    *ms_out = ms_at(object, "ms");
    dmarc = ARENA_NEW(mem, struct dmarc_evaluation);
    dmarc->result = word_at(object, "result", dmarc_result_name_word, DMARC_PERMERROR, DMARC_NONE);
    dmarc->policy = word_at(object, "policy", dmarc_policy_name_word, DMARC_POLICY_REJECT, DMARC_POLICY_NONE);
    dmarc->spf_aligned = flag_at(object, "spf_aligned");
    dmarc->dkim_aligned = flag_at(object, "dkim_aligned");
    dmarc->reason = text_at(mem, object, "reason");
    f->dmarc = dmarc;
    if (json_object_get(object, "found") == NULL)
        return;
    found = ARENA_NEW(mem, struct dmarc_discovery);
    found->found = word_at(object, "found", dmarc_found_name_word, DMARC_FOUND_PERMERROR, DMARC_NOT_FOUND);
    found->from_domain = f->from_domain;
    found->record = read_policy(mem, object);
    found->org_domain = text_or_null(mem, object, "org_domain");
    found->record_domain = text_or_null(mem, object, "record_domain");
    if (found->org_domain == NULL)
        found->org_domain = f->from_domain;
    if (found->record_domain == NULL && found->record != NULL)
        found->record_domain = f->from_domain;
    found->reason = "";
    f->discovery = found;
}

static const struct grey_answer *read_grey(struct arena *mem, const json_t *object, uint32_t *ms_out)
{
    struct grey_answer *grey;

    if (!json_is_object(object))
        return NULL;
    *ms_out = ms_at(object, "ms");
    grey = ARENA_NEW(mem, struct grey_answer);
    grey->verdict = word_at(object, "result", grey_verdict_name_word, GREY_UNANSWERED, GREY_UNANSWERED);
    grey->wait_s = number_at(object, "wait");
    grey->first_unix = number_at(object, "first");
    return grey;
}

/* ---- the parts ---- */

static void read_client(struct arena *mem, const json_t *root, struct decision *d)
{
    const json_t *object = json_object_get(root, "client");
    struct session_facts *f = &d->facts.session;
    uint32_t *took_ms = d->facts.took_ms;

    f->client = ip_at(mem, object, "ip");
    f->client_port = (uint16_t)number_at(object, "port");
    f->trusted = flag_at(object, "trusted");
    f->outbound = flag_at(object, "outbound");
    f->may_log_in = flag_at(object, "may_log_in");
    f->authenticated = flag_at(object, "authenticated");
    f->unknown = flag_at(object, "unknown");
    f->gateway = flag_at(object, "gateway");
    f->early_talker = flag_at(object, "early_talker");
    f->dns_sick = flag_at(object, "dns_sick");
    f->rdns = word_at(object, "rdns", rdns_state_name_word, RDNS_TEMPERROR, RDNS_NOT_ASKED);
    f->rdns_name = text_or_null(mem, object, "host");
    took_ms[FACT_RDNS] = ms_at(object, "rdns_ms");
    f->helo = text_or_null(mem, object, "helo");
    f->helo_form = word_at(object, "helo_form", helo_form_name_word, HELO_SINGLE_LABEL, HELO_NOT_SEEN);
    d->tls = text_or_null(mem, object, "tls");
    f->dnsbl = read_lists(mem, json_object_get(root, "dnsbl"), &took_ms[FACT_DNSBL]);
    f->spf_helo = read_spf(mem, json_object_get(root, "spf_helo"), SPF_HELO, &took_ms[FACT_SPF_HELO]);
}

/* Of MAIL FROM; where log.privacy has hidden that, it stands by itself. */
static struct str domain_of(struct arena *mem, const json_t *root, const char *from)
{
    const char *at = strrchr(from, '@'), *domain = text_or_null(mem, root, "sender_domain");

    return str_of(domain != NULL ? domain : at != NULL ? at + 1 : "");
}

static void read_transaction(struct arena *mem, const json_t *root, struct decision *d)
{
    struct transaction_facts *f = &d->facts.transaction;
    uint32_t *took_ms = d->facts.took_ms;

    if (json_object_get(root, "from") == NULL)
        return;
    d->from = text_at(mem, root, "from");
    f->sender.text = str_of(d->from);
    f->sender.domain = domain_of(mem, root, d->from);
    f->null_sender = *d->from == '\0';
    f->sender_domain = word_at(root, "sender", sender_domain_name_word, SENDER_TEMPERROR, SENDER_NOT_ASKED);
    took_ms[FACT_SENDER] = ms_at(root, "sender_ms");
    f->to_postmaster = flag_at(root, "to_postmaster");
    f->spf = read_spf(mem, json_object_get(root, "spf"), SPF_MFROM, &took_ms[FACT_SPF]);
    if (f->spf == NULL && f->null_sender)
        f->spf = d->facts.session.spf_helo;
    f->domains = read_lists(mem, json_object_get(root, "domains"), &took_ms[FACT_DOMAINS]);
}

static void read_framing(const json_t *object, struct message_facts *f)
{
    f->fault = word_at(object, "fault", smtp_data_fault_name_word, SMTP_DATA_LONG_LINE, SMTP_DATA_OK);
    f->too_big = flag_at(object, "too_big");
    f->header_too_big = flag_at(object, "header_too_big");
    f->starts_folded = flag_at(object, "starts_folded");
    f->bad_line = flag_at(object, "bad_line");
    f->too_many_fields = flag_at(object, "too_many_fields");
    f->spool_failed = flag_at(object, "spool_failed");
    f->received = (unsigned)number_at(object, "received");
    f->received_by_us = (unsigned)number_at(object, "received_by_us");
}

static void read_message(struct arena *mem, const json_t *object, struct decision *d)
{
    struct message_facts *f = &d->facts.message;
    uint32_t *took_ms = d->facts.took_ms;

    if (!json_is_object(object))
        return;
    f->bytes = (uint64_t)number_at(object, "bytes");
    d->message_id = text_or_null(mem, object, "id");
    read_framing(object, f);
    f->from_domain = text_or_null(mem, object, "from_domain");
    f->from_why = text_or_null(mem, object, "from_why");
    f->list = text_or_null(mem, object, "list");
    f->domains = read_lists(mem, json_object_get(object, "domains"), &took_ms[FACT_FROM_DOMAIN]);
    f->dkim = read_dkim(mem, json_object_get(object, "dkim"), &took_ms[FACT_DKIM]);
    d->signatures_left_out = number_at(json_object_get(object, "dkim"), "left_out");
    f->arc = read_arc(mem, json_object_get(object, "arc"), &took_ms[FACT_ARC]);
    read_dmarc(mem, json_object_get(object, "dmarc"), f, &took_ms[FACT_DMARC]);
}

static struct decision_outcome read_outcome(struct arena *mem, const json_t *object)
{
    const json_t *observed = json_object_get(object, "observed");
    size_t count = json_array_size(observed);
    const char **names = ARENA_ARRAY(mem, const char *, count + 1);
    struct decision_outcome outcome = {
        .action = word_at(object, "action", action_name_word, ACTION_DROP, ACTION_ACCEPT),
        .code = (int)number_at(object, "reply"),
        .enhanced = text_at(mem, object, "enhanced"),
        .check = text_or_null(mem, object, "check"),
        .text = text_at(mem, object, "text"),
        .observed = names,
    };

    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(observed, i));

        if (name != NULL)
            names[outcome.observed_count++] = str_dup(mem, str_of(name));
    }
    return outcome;
}

static struct decision_recipient read_recipient(struct arena *mem, const json_t *object)
{
    struct decision_recipient r = {.to = text_at(mem, object, "to"),
                                   .dns_sick = flag_at(object, "dns_sick"),
                                   .suspicion = text_or_null(mem, object, "suspicion"),
                                   .outcome = read_outcome(mem, json_object_get(object, "verdict"))};

    r.facts.address.text = str_of(r.to);
    r.facts.ours = flag_at(object, "ours");
    r.facts.unlisted = flag_at(object, "unlisted");
    r.facts.postmaster = flag_at(object, "postmaster");
    r.facts.grey = read_grey(mem, json_object_get(object, "grey"), &r.grey_ms);
    return r;
}

static void read_recipients(struct arena *mem, const json_t *root, struct decision *d)
{
    const json_t *told = json_object_get(root, "recipients");

    d->recipients = ARENA_ARRAY(mem, struct decision_recipient, json_array_size(told) + 1);
    for (; d->recipients_count < json_array_size(told); d->recipients_count++)
        d->recipients[d->recipients_count] = read_recipient(mem, json_array_get(told, d->recipients_count));
    d->recipients_left_out = number_at(root, "recipients_left_out");
}

bool decision_read(struct arena *mem, struct str line, struct decision *decision_out)
{
    json_t *root = json_loadb(line.p, line.n, JSON_ALLOW_NUL, NULL);
    struct decision *d = decision_out;

    *d = (struct decision){0};
    if (!json_is_object(root) || number_at(root, "time") <= 0) {
        json_decref(root);
        return false;
    }
    d->id = text_at(mem, root, "id");
    d->time_unix = number_at(root, "time");
    d->ms = number_at(root, "ms");
    d->at = text_at(mem, root, "at");
    d->listener = text_at(mem, root, "listener");
    d->backend = text_or_null(mem, root, "backend");
    d->signing = text_or_null(mem, root, "signed");
    d->end = text_or_null(mem, root, "end");
    d->failed_logins = (unsigned)number_at(root, "failed_logins");
    d->disposition =
        word_at(root, "disposition", dmarc_policy_name_word, DMARC_POLICY_REJECT, DMARC_POLICY_NONE);
    read_client(mem, root, d);
    read_transaction(mem, root, d);
    read_recipients(mem, root, d);
    read_message(mem, json_object_get(root, "message"), d);
    d->outcome = read_outcome(mem, json_object_get(root, "verdict"));
    json_decref(root);
    return true;
}
