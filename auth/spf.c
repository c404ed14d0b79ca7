#include "auth/spf.h"

#include "auth/spf_macro.h"
#include "auth/spf_record.h"
#include "base/bug.h"
#include "smtp/mailbox.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * The evaluation is a stack of records (an include puts one on top) and a cursor in each. A step either ends at
 * once, and the loop in go_on() takes the next one, or it asks the DNS and everything rests until the answer. Terms
 * are never looked up ahead of their turn: most records are decided before their end (RFC 7208 4.6.2).
 */

/* RFC 7208 4.6.4 */
enum { LOOKUPS_MAX = 10, VOID_LOOKUPS_MAX = 2, NAMES_MAX = 10 };
enum { REASON_MAX = 512, SHOWN_MAX = 255 };

/* PAUSE: a question is out, or `done` was called and the query may be gone. Either way: touch nothing more. */
enum outcome { MATCH, NO_MATCH, PAUSE };

typedef enum outcome step_fn(struct spf_query *q);

struct frame {
    struct frame *caller; /* the record whose include brought us here; NULL: the first */
    const char *domain;   /* %{d}; a redirect changes it */
    bool redirected;
    struct spf_record record; /* its terms are consumed */
    struct spf_term term;     /* the one being evaluated */
};

/* A name that the client's address points to (RFC 7208 5.5). */
struct host {
    const char *name;
    enum { HOST_UNCHECKED, HOST_VALID, HOST_INVALID } state;
};

struct spf_query {
    struct arena *mem;
    struct dns *dns;
    struct dns_token *pending; /* the one lookup in flight, or NULL */
    spf_done_fn *done;
    void *arg;
    struct spf_answer answer;
    struct spf_values values;
    const char *client_name;
    struct frame *top;
    const struct frame *decided; /* whose own term matched, below the includes */
    bool term_is_void;           /* this term had a void lookup already */
    bool explaining;             /* the result is there: nothing is counted any more */
    struct str explanation;      /* unexpanded */

    const char *names[NAMES_MAX]; /* of an a or mx, in the order to be asked */
    size_t names_count, names_at;

    struct host hosts[NAMES_MAX];
    size_t hosts_count;
    bool hosts_asked;
    struct host *checking;
    const char *wanted; /* domain that the host should be in */
    bool any_host;      /* %{p}: else any other will do */
    step_fn *then;      /* continues with `host`, NULL when there is none */
    const char *host;
};

static void go_on(struct spf_query *q, enum outcome outcome);

/* ---- the end ---- */

static enum outcome finish(struct spf_query *q)
{
    q->done(&q->answer, q->arg); /* last act: q may be gone now */
    return PAUSE;
}

/* Names and terms come from outside: what is shown is ASCII and bounded. */
static const char *printable(struct arena *mem, struct str s, size_t most)
{
    char *copy = str_dup(mem, str_upto(s, most));

    for (char *c = copy; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    return copy;
}

static void say_list(struct spf_query *q, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void say_list(struct spf_query *q, const char *format, va_list args)
{
    char text[REASON_MAX];

    vsnprintf(text, sizeof(text), format, args);
    q->answer.reason = printable(q->mem, str_of(text), sizeof(text));
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
static enum outcome stop(struct spf_query *q, enum spf_result result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static enum outcome stop(struct spf_query *q, enum spf_result result, const char *format, ...)
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
static bool is_over_lookups(struct spf_query *q)
{
    if (++q->answer.lookups <= LOOKUPS_MAX)
        return false;
    stop(q, SPF_PERMERROR, "more than %d terms ask the DNS; the evaluation ended in the record of %s", LOOKUPS_MAX,
         q->top->domain);
    return true;
}

/* RFC 7208 4.6.4 limits the *terms* whose queries find nothing: an mx with three hosts that have no AAAA is one void
 * lookup, not three. True: one too many, and the end. */
static bool is_over_voids(struct spf_query *q, const struct dns_answer *answer)
{
    if (!dns_is_void(answer->status) || q->term_is_void || q->explaining || q->answer.lookups == 0)
        return false;
    q->term_is_void = true;
    if (++q->answer.void_lookups <= VOID_LOOKUPS_MAX)
        return false;
    stop(q, SPF_PERMERROR, "more than %d lookups found nothing, the last one %s %s", VOID_LOOKUPS_MAX,
         dns_type_name(answer->type), answer->name);
    return true;
}

/* RFC 7208 5: except where a mechanism says otherwise, DNS trouble ends it all. */
static bool is_the_end(struct spf_query *q, const struct dns_answer *answer)
{
    if (!dns_is_temporary(answer->status))
        return is_over_voids(q, answer);
    stop(q, SPF_TEMPERROR, "the lookup of %s %s ended with %s", dns_type_name(answer->type), answer->name,
         dns_status_name(answer->status));
    return true;
}

static enum outcome ask(struct spf_query *q, enum dns_type type, const char *name, dns_done_fn *on_answer)
{
    q->pending = dns_query(q->dns, type, name, on_answer, q);
    return PAUSE;
}

static enum outcome ask_address(struct spf_query *q, const char *name, dns_done_fn *on_answer)
{
    return ask(q, q->values.client.family == 6 ? DNS_AAAA : DNS_A, name, on_answer);
}

/* An octet that is written \DDD has no place in a host name; nor has the root (RFC 7505). */
static bool is_host_name(const char *name)
{
    return *name != '\0' && strcmp(name, ".") != 0 && strchr(name, '\\') == NULL;
}

/* ---- the client's names, for ptr and %{p} (RFC 7208 5.5, 7.3) ---- */

static bool is_below(const char *name, const char *domain)
{
    struct str tail = str_of(domain), s = str_of(name);

    return s.n > tail.n && str_ends_same(s, tail) && s.p[s.n - tail.n - 1] == '.';
}

/* 0: the domain itself, 1: below it, 2: another. */
static int rank(const char *name, const char *domain)
{
    return str_same(str_of(name), str_of(domain)) ? 0 : is_below(name, domain) ? 1 : 2;
}

/* The best name that is not known to be invalid. */
static struct host *best_host(struct spf_query *q)
{
    struct host *best = NULL;
    int best_rank = q->any_host ? 3 : 2;

    for (size_t i = 0; i < q->hosts_count; i++) {
        int own = rank(q->hosts[i].name, q->wanted);

        if (q->hosts[i].state == HOST_INVALID || own >= best_rank)
            continue;
        best = &q->hosts[i];
        best_rank = own;
    }
    return best;
}

static void on_hosts(const struct dns_answer *answer, void *arg);
static void on_host_address(const struct dns_answer *answer, void *arg);

/* Only names that would do are validated, the best first: what the RFC's loop over all would find, with fewer
 * questions. What is known of a name is kept for the next ptr or %{p}. */
static enum outcome search_host(struct spf_query *q)
{
    char name[DNS_NAME_MAX + 1];

    if (!q->hosts_asked) {
        dns_ptr_name(&q->values.client, name);
        return ask(q, DNS_PTR, name, on_hosts);
    }
    q->checking = best_host(q);
    if (q->checking != NULL && q->checking->state == HOST_UNCHECKED)
        return ask_address(q, q->checking->name, on_host_address);
    q->host = q->checking != NULL ? q->checking->name : NULL;
    return q->then(q);
}

static enum outcome find_host(struct spf_query *q, const char *wanted, bool any, step_fn *then)
{
    q->wanted = wanted;
    q->any_host = any;
    q->then = then;
    return search_host(q);
}

static bool has_host(const struct spf_query *q, const char *name)
{
    for (size_t i = 0; i < q->hosts_count; i++)
        if (strcmp(q->hosts[i].name, name) == 0)
            return true;
    return false;
}

/* Whose PTR records these are, the client decides, not the domain: beyond ten they are ignored, and an error is
 * no more than no names (RFC 7208 4.6.4, 5.5). */
static void on_hosts(const struct dns_answer *answer, void *arg)
{
    struct spf_query *q = arg;

    q->pending = NULL;
    q->hosts_asked = true;
    if (answer->status == DNS_OK)
        for (size_t i = 0; i < answer->count && i < NAMES_MAX; i++) {
            const char *name = answer->records[i].name;

            if (is_host_name(name) && !has_host(q, name))
                q->hosts[q->hosts_count++].name = str_dup(q->mem, str_of(name));
        }
    if (!is_over_voids(q, answer))
        go_on(q, search_host(q));
}

static void on_host_address(const struct dns_answer *answer, void *arg)
{
    struct spf_query *q = arg;

    q->pending = NULL;
    q->checking->state = HOST_INVALID;
    if (answer->status == DNS_OK)
        for (size_t i = 0; i < answer->count; i++)
            if (ip_eq(&answer->records[i].ip, &q->values.client))
                q->checking->state = HOST_VALID;
    if (!is_over_voids(q, answer))
        go_on(q, search_host(q));
}

/* ---- names made of macros ---- */

/* %{p} counts like ptr when it is what asks for the names (RFC 7208 4.6.4). */
static enum outcome with_host(struct spf_query *q, struct str text, enum spf_macro_use use, step_fn *then)
{
    if (!spf_macro_uses(text, use, 'p'))
        return then(q);
    if (q->client_name != NULL) {
        q->host = q->client_name;
        return then(q);
    }
    if (!q->hosts_asked && !q->explaining && is_over_lookups(q))
        return PAUSE;
    return find_host(q, q->top->domain, true, then);
}

static const struct spf_values *values_now(struct spf_query *q)
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
        struct net net = {answer->records[i].ip, answer->records[i].ip.family == 6 ? term->bits6 : term->bits4};

        if (net_has(&net, &q->values.client))
            return true;
    }
    return false;
}

static void on_address(const struct dns_answer *answer, void *arg);

static enum outcome next_address(struct spf_query *q)
{
    if (q->names_at == q->names_count)
        return NO_MATCH;
    return ask_address(q, q->names[q->names_at++], on_address);
}

/* a and mx (RFC 7208 5.3, 5.4) */
static void on_address(const struct dns_answer *answer, void *arg)
{
    struct spf_query *q = arg;

    q->pending = NULL;
    if (!is_the_end(q, answer))
        go_on(q, answer->status == DNS_OK && matches_address(q, answer) ? MATCH : next_address(q));
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
    const struct dns_record *sorted[NAMES_MAX];

    for (size_t i = 0; i < answer->count; i++) {
        size_t at = i;

        for (; at > 0 && sorted[at - 1]->preference > answer->records[i].preference; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = &answer->records[i];
    }
    for (size_t i = 0; i < answer->count; i++)
        if (is_host_name(sorted[i]->name) && !has_name(q, sorted[i]->name))
            q->names[q->names_count++] = str_dup(q->mem, str_of(sorted[i]->name));
}

/* RFC 7208 5.4: no MX means no match; the domain itself is not taken for its MX. */
static void on_mx(const struct dns_answer *answer, void *arg)
{
    struct spf_query *q = arg;

    q->pending = NULL;
    if (is_the_end(q, answer))
        return;
    if (answer->status == DNS_OK && answer->count > NAMES_MAX) {
        stop(q, SPF_PERMERROR, "%s has more than %d MX hosts", answer->name, NAMES_MAX);
        return;
    }
    if (answer->status == DNS_OK)
        keep_mx_names(q, answer);
    go_on(q, next_address(q));
}

static void on_exists(const struct dns_answer *answer, void *arg)
{
    struct spf_query *q = arg;

    q->pending = NULL;
    if (!is_the_end(q, answer))
        go_on(q, answer->status == DNS_OK ? MATCH : NO_MATCH);
}

static enum outcome match_host(struct spf_query *q)
{
    return q->host != NULL ? MATCH : NO_MATCH;
}

/* ---- records ---- */

/* RFC 7208 4.3: at least two labels, each of 1 to 63 octets. */
static bool is_multi_label(struct str name)
{
    struct str label;
    size_t count = 0;

    if (name.n > DNS_NAME_MAX)
        return false;
    for (bool more = true; more; count++) {
        more = str_cut(name, '.', &label, &name);
        if (label.n == 0 || label.n > 63)
            return false;
    }
    return count > 1;
}

static void on_record(const struct dns_answer *answer, void *arg);

/* check_host() for the domain on top of the stack: none is an error for all but the first (RFC 7208 5.2, 6.1). */
static enum outcome ask_record(struct spf_query *q)
{
    if (is_multi_label(str_of(q->top->domain)))
        return ask(q, DNS_TXT, q->top->domain, on_record);
    return stop(q, SPF_PERMERROR, "\"%.*s\" is not a domain that can have an SPF record", SHOWN_MAX, q->top->domain);
}

static enum outcome no_record(struct spf_query *q, enum dns_status status)
{
    bool is_first = q->top->caller == NULL && !q->top->redirected;
    const char *what = status == DNS_NXDOMAIN ? "does not exist" : "has no SPF record";

    if (is_first)
        return stop(q, SPF_NONE, "%s %s", q->top->domain, what);
    return stop(q, SPF_PERMERROR, "%s names %s, which %s", q->top->redirected ? "a redirect" : "an include",
                q->top->domain, what);
}

/* RFC 7208 4.5 */
static enum outcome take_record(struct spf_query *q, const struct dns_answer *answer)
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
        return stop(q, SPF_PERMERROR, "the SPF record of %s is longer than %d octets", q->top->domain, SPF_RECORD_MAX);
    if (!spf_record_parse(str_copy(q->mem, *record), &q->top->record, &bad, &why))
        return stop(q, SPF_PERMERROR, "the SPF record of %s has an error in \"%.*s\": %s", q->top->domain,
                    (int)str_upto(bad, SHOWN_MAX).n, bad.p, why);
    return NO_MATCH; /* so far: on to its first term */
}

static void on_record(const struct dns_answer *answer, void *arg)
{
    struct spf_query *q = arg;

    q->pending = NULL;
    if (!is_the_end(q, answer))
        go_on(q, take_record(q, answer));
}

/* RFC 7208 5.2 */
static enum outcome enter_include(struct spf_query *q, const char *domain)
{
    struct frame *frame = ARENA_NEW(q->mem, struct frame);

    frame->domain = domain;
    frame->caller = q->top;
    q->top = frame; /* ten lookups bound the depth */
    return ask_record(q);
}

/* RFC 7208 6.1 */
static enum outcome follow_redirect(struct spf_query *q)
{
    const char *name = spf_macro_name(q->mem, q->top->record.redirect, values_now(q));

    if (name == NULL)
        return stop(q, SPF_PERMERROR, "the redirect of %s does not make a name", q->top->domain);
    q->top->domain = name;
    q->top->redirected = true;
    return ask_record(q);
}

/* ---- the explanation (RFC 7208 6.2): any trouble means that there is none ---- */

static enum outcome put_explanation(struct spf_query *q)
{
    const char *text = spf_macro_explanation(q->mem, q->explanation, values_now(q));

    if (text != NULL)
        q->answer.explanation = text;
    return finish(q);
}

static void on_explanation(const struct dns_answer *answer, void *arg)
{
    struct spf_query *q = arg;

    q->pending = NULL;
    if (answer->status != DNS_OK || answer->count != 1 || answer->records[0].text.n > SPF_TEXT_MAX ||
        !spf_macro_check(answer->records[0].text, SPF_IN_EXPLANATION)) {
        finish(q);
        return;
    }
    q->explanation = str_copy(q->mem, answer->records[0].text);
    with_host(q, q->explanation, SPF_IN_EXPLANATION, put_explanation);
}

static enum outcome ask_explanation(struct spf_query *q)
{
    const char *name = spf_macro_name(q->mem, q->top->record.exp, values_now(q));

    return name != NULL ? ask(q, DNS_TXT, name, on_explanation) : finish(q);
}

static enum outcome conclude(struct spf_query *q, enum spf_result result)
{
    q->answer.result = result;
    if (result != SPF_FAIL || q->top->record.exp.n == 0)
        return finish(q);
    q->explaining = true;
    return with_host(q, q->top->record.exp, SPF_IN_NAME, ask_explanation);
}

/* ---- the walk through the terms ---- */

static enum outcome ask_term(struct spf_query *q)
{
    const struct spf_term *term = &q->top->term;
    const char *name = q->top->domain;

    if (term->domain.n > 0)
        name = spf_macro_name(q->mem, term->domain, values_now(q));
    if (name == NULL)
        return NO_MATCH;
    q->names_count = q->names_at = 0;
    switch (term->kind) {
    case SPF_TERM_INCLUDE:
        return enter_include(q, name);
    case SPF_TERM_EXISTS: /* always A, whatever the client's family (RFC 7208 5.7) */
        return ask(q, DNS_A, name, on_exists);
    case SPF_TERM_PTR:
        return find_host(q, name, false, match_host);
    case SPF_TERM_MX:
        return ask(q, DNS_MX, name, on_mx);
    default: /* a */
        q->names[q->names_count++] = name;
        return next_address(q);
    }
}

static enum outcome begin_term(struct spf_query *q)
{
    const struct spf_term *term = &q->top->term;

    switch (term->kind) {
    case SPF_TERM_ALL:
        return MATCH;
    case SPF_TERM_IP4:
    case SPF_TERM_IP6:
        return net_has(&term->net, &q->values.client) ? MATCH : NO_MATCH;
    case SPF_TERM_REDIRECT:
    case SPF_TERM_EXP:
    case SPF_TERM_UNKNOWN:
        return NO_MATCH;
    default:
        q->term_is_void = false;
        if (is_over_lookups(q))
            return PAUSE;
        return with_host(q, term->domain, SPF_IN_NAME, ask_term);
    }
}

/* No term matched: a redirect takes over, else the result is neutral (RFC 7208 4.7, 6.1). */
static enum outcome end_record(struct spf_query *q)
{
    struct frame *frame = q->top;
    char client[IP_TEXT_MAX];

    if (frame->record.redirect.n > 0) {
        q->term_is_void = false;
        if (is_over_lookups(q))
            return PAUSE;
        return with_host(q, frame->record.redirect, SPF_IN_NAME, follow_redirect);
    }
    if (frame->caller != NULL) {
        q->top = frame->caller;
        return NO_MATCH;
    }
    say(q, "no term in the record of %s matches %s", frame->domain, ip_format(&q->values.client, client));
    return conclude(q, SPF_NEUTRAL);
}

static enum outcome next_term(struct spf_query *q)
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
    const struct frame *frame = q->top, *decided = q->decided;
    char client[IP_TEXT_MAX];

    ip_format(&q->values.client, client);
    if (decided == frame)
        say(q, "%s matches \"%.*s\" in the record of %s", client, STR_ARG(str_upto(frame->term.text, SHOWN_MAX / 2)),
            frame->domain);
    else
        say(q, "%s matches \"%.*s\" in the record of %s, included by %s", client,
            STR_ARG(str_upto(decided->term.text, SHOWN_MAX / 2)), decided->domain, frame->domain);
}

/* The term on top matches. In an included record that decides the include: a pass matches there, all else does
 * not (RFC 7208 5.2). */
static enum outcome take_match(struct spf_query *q)
{
    struct frame *frame = q->top;

    if (frame->term.kind != SPF_TERM_INCLUDE)
        q->decided = frame;
    if (frame->caller != NULL) {
        q->top = frame->caller;
        return frame->term.result == SPF_PASS ? MATCH : NO_MATCH;
    }
    q->answer.mechanism = printable(q->mem, frame->term.text, REASON_MAX);
    say_match(q);
    return conclude(q, frame->term.result);
}

static void go_on(struct spf_query *q, enum outcome outcome)
{
    while (outcome != PAUSE)
        outcome = outcome == MATCH ? take_match(q) : next_term(q);
}

/* ---- the beginning (RFC 7208 4.3) ---- */

/* A host's or a mail domain's name in the DNS: no address, no literal, nothing that only looks like a name. */
static bool is_domain_name(struct str domain)
{
    bool digits_only = true; /* in the last label */

    for (size_t i = 0; i < domain.n; i++) {
        char c = domain.p[i];

        if (!ascii_is_alnum(c) && c != '-' && c != '_' && c != '.')
            return false;
        digits_only = c == '.' || (digits_only && ascii_is_digit(c));
    }
    return !digits_only && is_multi_label(domain);
}

static bool is_beyond_ascii(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return true;
    return false;
}

/* Lower case A-labels without a final dot (RFC 8616 4); what cannot be made so stays as it is, and is no domain. */
static struct str canonical_domain(struct arena *mem, struct str domain)
{
    const char *ascii;

    if (domain.n > 0 && domain.p[domain.n - 1] == '.')
        domain.n--;
    if (!is_beyond_ascii(domain) || domain.n > DNS_NAME_MAX)
        return domain;
    ascii = mailbox_domain_to_ascii(mem, domain);
    return ascii != NULL ? str_of(ascii) : domain;
}

/* The sender: MAIL FROM, or postmaster at the HELO name for the null sender and for the HELO identity (RFC 7208 2.3,
 * 2.4, 4.3). */
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
    v->sender_domain = canonical_domain(q->mem, domain);
    v->sender = str_of(str_fmt(q->mem, "%.*s@%.*s", STR_ARG(v->local), STR_ARG(v->sender_domain)));
}

/* No turn of a loop is ours to wait for, but a question that cannot be asked is answered on a later one as well. */
static void on_nothing(const struct dns_answer *answer, void *arg)
{
    struct spf_query *q = arg;

    (void)answer;
    q->pending = NULL;
    finish(q);
}

struct spf_query *spf_start(struct arena *mem, struct dns *dns, const struct spf_ask *question, spf_done_fn *done, void *arg)
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
    take_identity(q, question);
    domain = q->values.sender_domain;
    q->top = ARENA_NEW(mem, struct frame);
    if (question->client.family != 0 && is_domain_name(domain)) {
        q->answer.domain = q->top->domain = str_dup_lower(mem, domain);
        ask(q, DNS_TXT, q->top->domain, on_record);
        return q;
    }
    q->answer.result = SPF_NONE;
    q->answer.domain = printable(mem, domain, DNS_NAME_MAX);
    say(q, "\"%s\" is not a domain that can have an SPF record", q->answer.domain);
    ask(q, DNS_TXT, "", on_nothing);
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
    if (q->answer.reason == NULL) {
        q->answer.result = SPF_TEMPERROR;
        say(q, "the DNS did not answer in time for the record of %s", q->top->domain);
    }
    return &q->answer;
}

const char *spf_result_name(enum spf_result r)
{
    static const char *const names[] = {"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"};

    return names[r];
}

const char *spf_scope_name(enum spf_scope s)
{
    return s == SPF_HELO ? "helo" : "mfrom";
}
