#include "auth/spf.h"

#include "auth/spf_name.h"
#include "auth/spf_query.h"
#include "base/bug.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * The evaluation is a stack of records (an include puts one on top) and a cursor in each. A step either ends
 * at once, and the loop in spf_go_on() takes the next one, or it asks the DNS and everything rests until the
 * answer. Terms are never looked up ahead of their turn: most records are decided before their end (RFC
 * 7208 4.6.2).
 */

enum { REASON_MAX = 512, SHOWN_MAX = 255 };

/* ---- the end ---- */

static enum spf_outcome finish(struct spf_query *q)
{
    spf_trace_end(q, SPF_STEP_ERROR); /* nothing is open after a result that is none */
    q->done(&q->answer, q->arg);      /* last act: q may be gone now */
    return SPF_PAUSE;
}

const char *spf_printable(struct arena *mem, struct str s, size_t most)
{
    char *copy = str_dup(mem, str_upto(s, most));

    for (char *c = copy; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    return copy;
}

static void say_list(struct spf_query *q, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static void say_list(struct spf_query *q, const char *format, va_list args)
{
    char text[REASON_MAX];

    vsnprintf(text, sizeof(text), format, args);
    q->answer.reason = spf_printable(q->mem, str_of(text), sizeof(text));
}

static void say(struct spf_query *q, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct spf_query *q, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_list(q, format, args);
    va_end(args);
}

/* Ends the evaluation, wherever it is. */
static enum spf_outcome stop(struct spf_query *q, enum spf_result result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static enum spf_outcome stop(struct spf_query *q, enum spf_result result, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_list(q, format, args);
    va_end(args);
    q->answer.result = result;
    return finish(q);
}

/* ---- limits ---- */

/* Counts one more term that asks the DNS; true: one too many, and the end. */
bool spf_is_over_lookups(struct spf_query *q)
{
    if (++q->answer.lookups <= SPF_LOOKUPS_MAX)
        return false;
    stop(q, SPF_PERMERROR, "more than %d terms ask the DNS; the evaluation ended in the record of %s",
         SPF_LOOKUPS_MAX, q->top->domain);
    return true;
}

/* RFC 7208 4.6.4 limits the *terms* whose queries find nothing: an mx with three hosts that have no AAAA is
 * one void lookup, not three. True: one too many, and the end. */
bool spf_is_over_voids(struct spf_query *q, const struct dns_answer *answer)
{
    if (!dns_is_void(answer->status) || q->term_is_void || q->explaining || q->answer.lookups == 0)
        return false;
    q->term_is_void = true;
    if (++q->answer.void_lookups <= SPF_VOID_LOOKUPS_MAX)
        return false;
    stop(q, SPF_PERMERROR, "more than %d lookups found nothing, the last one %s %s", SPF_VOID_LOOKUPS_MAX,
         dns_type_name(answer->type), answer->name);
    return true;
}

/* RFC 7208 5: except where a mechanism says otherwise, DNS trouble ends it all. */
static bool is_the_end(struct spf_query *q, const struct dns_answer *answer)
{
    if (!dns_is_temporary(answer->status))
        return spf_is_over_voids(q, answer);
    stop(q, SPF_TEMPERROR, "the lookup of %s %s ended with %s", dns_type_name(answer->type), answer->name,
         dns_status_name(answer->status));
    return true;
}

static void on_any_answer(const struct dns_answer *answer, void *arg)
{
    struct spf_query *q = arg;

    q->pending = NULL;
    spf_trace_answer(q, answer);
    q->on_answer(q, answer);
}

enum spf_outcome spf_ask_dns(struct spf_query *q, enum dns_type type, const char *name,
                             spf_answer_fn *on_answer)
{
    q->on_answer = on_answer;
    q->pending = dns_query(q->dns, type, name, on_any_answer, q);
    return SPF_PAUSE;
}

enum spf_outcome spf_ask_address(struct spf_query *q, const char *name, spf_answer_fn *on_answer)
{
    return spf_ask_dns(q, q->values.client.family == 6 ? DNS_AAAA : DNS_A, name, on_answer);
}

static const struct spf_values *spf_values_now(struct spf_query *q)
{
    q->values.domain = str_of(q->top->domain);
    q->values.host = str_of(q->host);
    return &q->values;
}

/* ---- mechanisms that ask ---- */

static bool matches_address(const struct spf_query *q, const struct dns_answer *answer)
{
    const struct spf_term *term = &q->top->term;

    for (size_t i = 0; i < answer->count; i++) {
        struct net net = {answer->records[i].ip,
                          answer->records[i].ip.family == 6 ? term->bits6 : term->bits4};

        if (net_has(&net, &q->values.client))
            return true;
    }
    return false;
}

static void on_address(struct spf_query *q, const struct dns_answer *answer);

static enum spf_outcome next_address(struct spf_query *q)
{
    if (q->names_at == q->names_count)
        return SPF_NO_MATCH;
    return spf_ask_address(q, q->names[q->names_at++], on_address);
}

/* a and mx (RFC 7208 5.3, 5.4) */
static void on_address(struct spf_query *q, const struct dns_answer *answer)
{
    if (!is_the_end(q, answer))
        spf_go_on(q, answer->status == DNS_OK && matches_address(q, answer) ? SPF_MATCH : next_address(q));
}

static bool has_name(const struct spf_query *q, const char *name)
{
    for (size_t i = 0; i < q->names_count; i++)
        if (strcmp(q->names[i], name) == 0)
            return true;
    return false;
}

/* In the order of their preference; a name that stands there twice is asked once. */
static void keep_mx_names(struct spf_query *q, const struct dns_answer *answer)
{
    const struct dns_record *sorted[SPF_NAMES_MAX];

    for (size_t i = 0; i < answer->count; i++) {
        size_t at = i;

        for (; at > 0 && sorted[at - 1]->preference > answer->records[i].preference; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = &answer->records[i];
    }
    for (size_t i = 0; i < answer->count; i++)
        if (spf_is_host_name(sorted[i]->name) && !has_name(q, sorted[i]->name))
            q->names[q->names_count++] = str_dup(q->mem, str_of(sorted[i]->name));
}

/* RFC 7208 5.4: no MX means no match; the domain itself is not taken for its MX. */
static void on_mx(struct spf_query *q, const struct dns_answer *answer)
{
    if (is_the_end(q, answer))
        return;
    if (answer->status == DNS_OK && answer->count > SPF_NAMES_MAX) {
        stop(q, SPF_PERMERROR, "%s has more than %d MX hosts", answer->name, SPF_NAMES_MAX);
        return;
    }
    if (answer->status == DNS_OK)
        keep_mx_names(q, answer);
    spf_go_on(q, next_address(q));
}

static void on_exists(struct spf_query *q, const struct dns_answer *answer)
{
    if (!is_the_end(q, answer))
        spf_go_on(q, answer->status == DNS_OK ? SPF_MATCH : SPF_NO_MATCH);
}

static enum spf_outcome match_host(struct spf_query *q)
{
    return q->host != NULL ? SPF_MATCH : SPF_NO_MATCH;
}

/* ---- records ---- */

static void on_record(struct spf_query *q, const struct dns_answer *answer);

/* check_host() for the domain on top of the stack: none is an error for all but the first (RFC
 * 7208 5.2, 6.1). */
static enum spf_outcome ask_record(struct spf_query *q)
{
    spf_trace_record(q);
    if (spf_is_multi_label(str_of(q->top->domain)))
        return spf_ask_dns(q, DNS_TXT, q->top->domain, on_record);
    return stop(q, SPF_PERMERROR, "\"%.*s\" is not a domain that can have an SPF record", SHOWN_MAX,
                q->top->domain);
}

static enum spf_outcome no_record(struct spf_query *q, enum dns_status status)
{
    bool is_first = q->top->caller == NULL && !q->top->redirected;
    const char *what = status == DNS_NXDOMAIN ? "does not exist" : "has no SPF record";

    spf_trace_outcome(q, SPF_STEP_NONE);
    if (is_first)
        return stop(q, SPF_NONE, "%s %s", q->top->domain, what);
    return stop(q, SPF_PERMERROR, "%s names %s, which %s", q->top->redirected ? "a redirect" : "an include",
                q->top->domain, what);
}

/* RFC 7208 4.5 */
static enum spf_outcome take_record(struct spf_query *q, const struct dns_answer *answer)
{
    const struct str *record = NULL;
    const char *why = "";
    struct str bad;
    size_t count = 0;

    for (size_t i = 0; answer->status == DNS_OK && i < answer->count; i++)
        if (spf_record_is_one(answer->records[i].text)) {
            record = &answer->records[i].text;
            count++;
        }
    if (record == NULL)
        return no_record(q, answer->status);
    if (q->answer.mechanism == NULL)
        q->answer.mechanism = "default";
    if (count > 1)
        return stop(q, SPF_PERMERROR, "%s has %zu SPF records", q->top->domain, count);
    if (record->n > SPF_RECORD_MAX) /* refused before it is copied */
        return stop(q, SPF_PERMERROR, "the SPF record of %s is longer than %d octets", q->top->domain,
                    SPF_RECORD_MAX);
    if (!spf_record_parse(str_copy(q->mem, *record), &q->top->record, &bad, &why))
        return stop(q, SPF_PERMERROR, "the SPF record of %s has an error in \"%.*s\": %s", q->top->domain,
                    (int)str_upto(bad, SHOWN_MAX).n, bad.p, why);
    spf_trace_outcome(q, SPF_STEP_FOUND);
    return SPF_NO_MATCH; /* so far: on to its first term */
}

static void on_record(struct spf_query *q, const struct dns_answer *answer)
{
    if (!is_the_end(q, answer))
        spf_go_on(q, take_record(q, answer));
}

/* RFC 7208 5.2 */
static enum spf_outcome enter_include(struct spf_query *q, const char *domain)
{
    struct spf_frame *frame = ARENA_NEW(q->mem, struct spf_frame);

    frame->domain = domain;
    frame->caller = q->top;
    q->top = frame; /* ten lookups bound the depth */
    return ask_record(q);
}

/* RFC 7208 6.1 */
static enum spf_outcome follow_redirect(struct spf_query *q)
{
    const char *name = spf_macro_name(q->mem, q->top->record.redirect, spf_values_now(q));

    if (name == NULL)
        return stop(q, SPF_PERMERROR, "the redirect of %s does not make a name", q->top->domain);
    spf_trace_target(q, name);
    spf_trace_outcome(q, SPF_STEP_FOLLOWED);
    q->top->domain = name;
    q->top->redirected = true;
    return ask_record(q);
}

/* ---- the explanation (RFC 7208 6.2): any trouble means that there is none ---- */

static enum spf_outcome put_explanation(struct spf_query *q)
{
    const char *text = spf_macro_explanation(q->mem, q->explanation, spf_values_now(q));

    if (text != NULL)
        q->answer.explanation = text;
    spf_trace_outcome(q, text != NULL ? SPF_STEP_FOUND : SPF_STEP_NONE);
    return finish(q);
}

static void on_explanation(struct spf_query *q, const struct dns_answer *answer)
{
    if (answer->status != DNS_OK || answer->count != 1 || answer->records[0].text.n > SPF_TEXT_MAX ||
        !spf_macro_check(answer->records[0].text, SPF_IN_EXPLANATION)) {
        spf_trace_outcome(q, SPF_STEP_NONE);
        finish(q);
        return;
    }
    q->explanation = str_copy(q->mem, answer->records[0].text);
    spf_with_host(q, q->explanation, SPF_IN_EXPLANATION, put_explanation);
}

static enum spf_outcome ask_explanation(struct spf_query *q)
{
    const char *name = spf_macro_name(q->mem, q->top->record.exp, spf_values_now(q));

    if (name != NULL) {
        spf_trace_target(q, name);
        return spf_ask_dns(q, DNS_TXT, name, on_explanation);
    }
    spf_trace_outcome(q, SPF_STEP_NONE);
    return finish(q);
}

static enum spf_outcome conclude(struct spf_query *q, enum spf_result result)
{
    q->answer.result = result;
    if (result != SPF_FAIL || q->top->record.exp.n == 0)
        return finish(q);
    q->explaining = true;
    spf_trace_term(q, "exp=", q->top->record.exp);
    return spf_with_host(q, q->top->record.exp, SPF_IN_NAME, ask_explanation);
}

/* ---- the walk through the terms ---- */

static enum spf_outcome ask_term(struct spf_query *q)
{
    const struct spf_term *term = &q->top->term;
    const char *name = q->top->domain;

    if (term->domain.n > 0)
        name = spf_macro_name(q->mem, term->domain, spf_values_now(q));
    if (name == NULL)
        return SPF_NO_MATCH;
    spf_trace_target(q, name);
    q->names_count = q->names_at = 0;
    switch (term->kind) {
    case SPF_TERM_INCLUDE:
        return enter_include(q, name);
    case SPF_TERM_EXISTS: /* always A, whatever the client's family (RFC 7208 5.7) */
        return spf_ask_dns(q, DNS_A, name, on_exists);
    case SPF_TERM_PTR:
        return spf_find_host(q, name, false, match_host);
    case SPF_TERM_MX:
        return spf_ask_dns(q, DNS_MX, name, on_mx);
    default: /* a */
        q->names[q->names_count++] = name;
        return next_address(q);
    }
}

static enum spf_outcome begin_term(struct spf_query *q)
{
    const struct spf_term *term = &q->top->term;

    if (term->kind == SPF_TERM_REDIRECT || term->kind == SPF_TERM_EXP)
        return SPF_NO_MATCH; /* their turn comes when no term is left, and at a fail */
    spf_trace_term(q, "", term->text);
    switch (term->kind) {
    case SPF_TERM_ALL:
        return SPF_MATCH;
    case SPF_TERM_IP4:
    case SPF_TERM_IP6:
        return net_has(&term->net, &q->values.client) ? SPF_MATCH : SPF_NO_MATCH;
    case SPF_TERM_UNKNOWN:
        spf_trace_outcome(q, SPF_STEP_IGNORED);
        return SPF_NO_MATCH;
    default:
        q->term_is_void = false;
        if (spf_is_over_lookups(q))
            return SPF_PAUSE;
        return spf_with_host(q, term->domain, SPF_IN_NAME, ask_term);
    }
}

/* No term matched: a redirect takes over, else the result is neutral (RFC 7208 4.7, 6.1). */
static enum spf_outcome end_record(struct spf_query *q)
{
    struct spf_frame *frame = q->top;
    char client[IP_TEXT_MAX];

    if (frame->record.redirect.n > 0) {
        spf_trace_term(q, "redirect=", frame->record.redirect);
        q->term_is_void = false;
        if (spf_is_over_lookups(q))
            return SPF_PAUSE;
        return spf_with_host(q, frame->record.redirect, SPF_IN_NAME, follow_redirect);
    }
    if (frame->caller != NULL) {
        q->top = frame->caller;
        return SPF_NO_MATCH;
    }
    say(q, "no term in the record of %s matches %s", frame->domain, ip_format(&q->values.client, client));
    return conclude(q, SPF_NEUTRAL);
}

static enum spf_outcome next_term(struct spf_query *q)
{
    const char *why;

    switch (spf_term_next(&q->top->record.terms, &q->top->term, &why)) {
    case SPF_NEXT_TERM:
        return begin_term(q);
    case SPF_NEXT_END:
        return end_record(q);
    default:
        bug("an SPF record that was checked has an error: %s", why);
    }
}

static void say_match(struct spf_query *q)
{
    const struct spf_frame *frame = q->top, *decided = q->decided;
    char client[IP_TEXT_MAX];

    ip_format(&q->values.client, client);
    if (decided == frame)
        say(q, "%s matches \"%.*s\" in the record of %s", client,
            STR_ARG(str_upto(frame->term.text, SHOWN_MAX / 2)), frame->domain);
    else
        say(q, "%s matches \"%.*s\" in the record of %s, included by %s", client,
            STR_ARG(str_upto(decided->term.text, SHOWN_MAX / 2)), decided->domain, frame->domain);
}

/* The term on top matches. In an included record that decides the include: a pass matches there, all else
 * does not (RFC 7208 5.2). */
static enum spf_outcome take_match(struct spf_query *q)
{
    struct spf_frame *frame = q->top;

    if (frame->term.kind != SPF_TERM_INCLUDE)
        q->decided = frame;
    if (frame->caller != NULL) {
        q->top = frame->caller;
        return frame->term.result == SPF_PASS ? SPF_MATCH : SPF_NO_MATCH;
    }
    q->answer.mechanism = spf_printable(q->mem, frame->term.text, REASON_MAX);
    say_match(q);
    return conclude(q, frame->term.result);
}

void spf_go_on(struct spf_query *q, enum spf_outcome outcome)
{
    while (outcome != SPF_PAUSE) {
        spf_trace_outcome(q, outcome == SPF_MATCH ? SPF_STEP_MATCH : SPF_STEP_NO_MATCH);
        outcome = outcome == SPF_MATCH ? take_match(q) : next_term(q);
    }
}

/* ---- the beginning (RFC 7208 4.3) ---- */

/* The sender: MAIL FROM, or postmaster at the HELO name for the null sender and for the HELO identity (RFC
 * 7208 2.3, 2.4, 4.3). */
static void take_identity(struct spf_query *q, const struct spf_ask *question)
{
    struct str sender = str_of(question->mail_from), domain;
    struct spf_values *v = &q->values;
    size_t at = sender.n;

    q->answer.scope = question->scope == SPF_HELO || sender.n == 0 ? SPF_HELO : SPF_MFROM;
    if (q->answer.scope == SPF_HELO)
        sender = str_of(question->helo);
    else
        while (at > 0 && sender.p[at - 1] != '@')
            at--;
    if (q->answer.scope == SPF_HELO || at == 0) {
        v->local = STR("postmaster");
        domain = sender;
    } else {
        v->local = at > 1 ? str_upto(sender, at - 1) : STR("postmaster");
        domain = str_from(sender, at);
    }
    v->sender_domain = spf_canonical_domain(q->mem, domain);
    v->sender = str_of(str_fmt(q->mem, "%.*s@%.*s", STR_ARG(v->local), STR_ARG(v->sender_domain)));
}

/* No turn of a loop is ours to wait for, but a question that cannot be asked is answered on a later one as
 * well. */
static void on_nothing(struct spf_query *q, const struct dns_answer *answer)
{
    (void)answer;
    finish(q);
}

struct spf_query *spf_start(struct arena *mem, struct dns *dns, const struct spf_ask *question,
                            spf_done_fn *done, void *arg)
{
    struct spf_query *q = ARENA_NEW(mem, struct spf_query);
    struct str domain;

    q->mem = mem;
    q->dns = dns;
    q->done = done;
    q->arg = arg;
    q->client_name = question->client_name;
    q->values.helo = str_of(question->helo);
    q->values.receiver = str_of(question->receiver);
    q->values.client = question->client;
    q->values.now_unix = question->now_unix;
    q->answer.explanation = "";
    if (question->trace)
        spf_trace_begin(q);
    take_identity(q, question);
    domain = q->values.sender_domain;
    q->top = ARENA_NEW(mem, struct spf_frame);
    if (question->client.family != 0 && spf_is_domain_name(domain)) {
        q->answer.domain = q->top->domain = str_dup_lower(mem, domain);
        spf_trace_record(q);
        spf_ask_dns(q, DNS_TXT, q->top->domain, on_record);
        return q;
    }
    q->answer.result = SPF_NONE;
    q->answer.domain = spf_printable(mem, domain, DNS_NAME_MAX);
    say(q, "\"%s\" is not a domain that can have an SPF record", q->answer.domain);
    spf_ask_dns(q, DNS_TXT, "", on_nothing);
    return q;
}

void spf_cancel(struct spf_query **query)
{
    if (*query != NULL)
        dns_cancel(&(*query)->pending); /* nothing else could call us */
    *query = NULL;
}

/* A fail that only waits for its explanation stays a fail (RFC 7208 4.6.4, 6.2). */
const struct spf_answer *spf_finish(struct spf_query **query)
{
    struct spf_query *q = *query;

    spf_cancel(query);
    spf_trace_end(q, SPF_STEP_UNFINISHED);
    if (q->answer.reason == NULL) {
        q->answer.result = SPF_TEMPERROR;
        say(q, "the DNS did not answer in time for the record of %s", q->top->domain);
    }
    return &q->answer;
}

const char *spf_result_name(enum spf_result r)
{
    static const char *const names[] = {"none",     "neutral",   "pass",     "fail",
                                        "softfail", "temperror", "permerror"};

    return names[r];
}

const char *spf_scope_name(enum spf_scope s)
{
    return s == SPF_HELO ? "helo" : "mfrom";
}
