#include "report/failure.h"

#include "base/bug.h"
#include "base/hash.h"
#include "report/mail.h"
#include "smtp/header.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- is it wanted? ---- */

static bool has_option(const char *fo, char option)
{
    struct str rest = str_of(fo != NULL && fo[0] != '\0' ? fo : "0"), item;

    while (rest.n > 0) {
        str_cut(rest, ':', &item, &rest);
        item = str_trim(item);
        if (item.n == 1 && ascii_lower(item.p[0]) == option)
            return true;
    }
    return false;
}

static bool dkim_failed(const struct dkim_answer *dkim)
{
    for (size_t i = 0; dkim != NULL && i < dkim->count; i++)
        if (dkim->signatures[i].result == DKIM_FAIL || dkim->signatures[i].result == DKIM_PERMERROR)
            return true;
    return false;
}

static bool spf_failed(const struct spf_answer *spf)
{
    return spf != NULL &&
           (spf->result == SPF_FAIL || spf->result == SPF_SOFTFAIL || spf->result == SPF_PERMERROR);
}

/* Of trouble in the DNS nobody is told: it says nothing about the message. */
enum failure_kind failure_wanted(const struct dmarc_record *record, const struct dmarc_evaluation *e,
                                 const struct spf_answer *spf, const struct dkim_answer *dkim)
{
    if (record == NULL || record->ruf_count == 0 || record->psd == 'y')
        return FAILURE_NONE;
    if (e->result == DMARC_FAIL && has_option(record->fo, '0'))
        return FAILURE_DMARC;
    if ((e->result == DMARC_FAIL || (e->result == DMARC_PASS && !(e->spf_aligned && e->dkim_aligned))) &&
        has_option(record->fo, '1'))
        return FAILURE_DMARC;
    if (has_option(record->fo, 'd') && dkim_failed(dkim))
        return FAILURE_DKIM;
    return has_option(record->fo, 's') && spf_failed(spf) ? FAILURE_SPF : FAILURE_NONE;
}

/* ---- redaction ---- */

static bool is_local_octet(char c)
{
    return ascii_is_alnum(c) || str_has(STR(".!#$%&'*+-/=?^_`{|}~"), c) || (unsigned char)c >= 0x80;
}

/* Where the local part in front of text.p[at] ("@") begins. */
static size_t local_begin(struct str text, size_t at)
{
    size_t begin = at;

    if (at > 0 && text.p[at - 1] == '"') {
        for (begin = at - 1; begin > 0 && text.p[begin - 1] != '"' && text.p[begin - 1] != '\n'; begin--)
            ;
        return begin > 0 ? begin - 1 : at - 1;
    }
    while (begin > 0 && is_local_octet(text.p[begin - 1]))
        begin--;
    return begin;
}

/* The same address looks the same in all reports of this process, and nobody can try names against it
 * (RFC 6590 3 wants a key). */
static struct str redacted(struct arena *mem, struct str text)
{
    struct buf out;
    struct str copy;
    size_t done = 0;

    buf_init(&out, 4 * text.n + 64);
    for (size_t at = 0; at < text.n; at++) {
        size_t begin;

        if (text.p[at] != '@')
            continue;
        begin = local_begin(text, at);
        if (begin < done || begin == at)
            continue;
        buf_add_str(&out, str_make(text.p + done, begin - done));
        buf_fmt(&out, "x%08" PRIx32, (uint32_t)hash_bytes(text.p + begin, at - begin));
        done = at;
    }
    buf_add_str(&out, str_from(text, done));
    copy = str_copy(mem, buf_str(&out));
    buf_fini(&out);
    return copy;
}

/* What identifies the message is of no use when it is changed, and names nobody. */
static bool is_left_as_it_is(const struct header_field *field)
{
    static const char *const names[] = {"DKIM-Signature", "Message-ID", "In-Reply-To",
                                        "References",     "ARC-Seal",   "ARC-Message-Signature"};

    for (size_t i = 0; i < COUNT(names); i++)
        if (str_same_z(field->name, names[i]))
            return true;
    return false;
}

static struct str redacted_header(struct arena *mem, struct str section)
{
    struct header header;
    struct buf out;
    struct str copy;

    buf_init(&out, 4 * section.n + 64);
    if (header_parse(mem, section, 1000, &header) == HEADER_TOO_MANY)
        header.count = 0;
    for (size_t i = 0; i < header.count; i++)
        buf_add_str(&out, is_left_as_it_is(&header.fields[i]) ? header.fields[i].raw
                                                              : redacted(mem, header.fields[i].raw));
    copy = str_copy(mem, buf_str(&out));
    buf_fini(&out);
    return copy;
}

/* ---- the parts ---- */

static struct str shown(struct arena *mem, const struct failure *f, const char *text)
{
    return f->redact ? redacted(mem, str_of(text)) : str_of(text);
}

/* One field on one line: nothing from outside can begin another one. */
static void put(struct arena *mem, struct buf *out, const char *name, struct str value)
{
    struct str flat = header_unfold(mem, value);

    buf_fmt(out, "%s: ", name);
    for (size_t i = 0; i < flat.n && i < 900; i++)
        buf_add_char(out, flat.p[i] >= ' ' && flat.p[i] <= '~' ? flat.p[i] : '?');
    buf_add_z(out, "\r\n");
}

static const char *alignment(const struct failure *f)
{
    if (f->dkim_aligned)
        return f->spf_aligned ? "dkim, spf" : "dkim";
    return f->spf_aligned ? "spf" : "none";
}

static void put_kind(struct arena *mem, struct buf *out, const struct failure *f)
{
    static const char *const words[] = {"dmarc", "dmarc", "signature", "spf"};

    put(mem, out, "Auth-Failure", str_of(words[f->kind]));
    put(mem, out, "Identity-Alignment", str_of(alignment(f)));
    if (f->dkim != NULL) {
        put(mem, out, "DKIM-Domain", str_of(f->dkim->domain));
        put(mem, out, "DKIM-Selector", str_of(f->dkim->selector));
        put(mem, out, "DKIM-Identity", shown(mem, f, f->dkim->identity));
    }
    if (f->spf_domain != NULL)
        put(mem, out, "SPF-DNS", str_of(str_fmt(mem, "txt : %s", f->spf_domain)));
}

static void put_feedback(struct arena *mem, struct buf *out, const char *boundary, const struct failure *f)
{
    static const char *const deliveries[] = {"delivered", "spam", "policy", "reject", "other"};

    mail_part(out, boundary, "Content-Type: message/feedback-report\r\nContent-Transfer-Encoding: 7bit");
    put(mem, out, "Feedback-Type", STR("auth-failure"));
    put(mem, out, "User-Agent", STR("smtpguard/" VERSION));
    put(mem, out, "Version", STR("1"));
    if (f->mail_from != NULL)
        put(mem, out, "Original-Mail-From",
            f->mail_from[0] == '\0' ? STR("<>")
                                    : str_of(str_fmt(mem, "<%.*s>", STR_ARG(shown(mem, f, f->mail_from)))));
    if (f->rcpt_to != NULL)
        put(mem, out, "Original-Rcpt-To", str_of(str_fmt(mem, "<%.*s>", STR_ARG(shown(mem, f, f->rcpt_to)))));
    put(mem, out, "Arrival-Date", str_of(mail_date(mem, f->now_unix)));
    put(mem, out, "Source-IP", str_of(ip_text(mem, &f->source)));
    put(mem, out, "Reported-Domain", str_of(f->header_from));
    if (f->authentication_results != NULL)
        put(mem, out, "Authentication-Results", shown(mem, f, f->authentication_results));
    put(mem, out, "Delivery-Result", str_of(deliveries[f->delivery]));
    put_kind(mem, out, f);
    buf_add_z(out, "\r\n");
}

/* Elsewhere than in a field of its own it must be a name. */
static const char *plain_domain(const struct failure *f)
{
    return report_domain_is_plain(f->header_from) ? f->header_from : "invalid";
}

static void put_note(struct buf *out, const char *boundary, const struct failure *f)
{
    char ip[IP_TEXT_MAX];

    mail_part(out, boundary, "Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit");
    buf_fmt(out,
            "This is an authentication failure report (RFC 9991) on a message\r\nfrom %s that %s received "
            "from %s.\r\n",
            plain_domain(f), f->from->submitter, ip_format(&f->source, ip));
    buf_add_z(out, "It is sent since the domain's DMARC record asks for it with ruf=.\r\n\r\n");
}

static void put_message(struct arena *mem, struct buf *out, const char *boundary, const struct failure *f)
{
    struct str header = str_upto(f->header, FAILURE_HEADER_MAX);

    mail_part(out, boundary,
              f->body.p != NULL ? "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit"
                                : "Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 7bit");
    mail_lines(out, f->redact ? redacted_header(mem, header) : header);
    if (f->body.p != NULL) {
        buf_add_z(out, "\r\n");
        mail_lines(out, str_upto(f->body, FAILURE_BODY_MAX));
    }
    buf_add_z(out, "\r\n");
}

void failure_write(struct arena *mem, struct buf *out, const struct failure *f)
{
    /* Nobody can guess it, so no body can hold it. */
    const char *boundary = str_fmt(mem, "smtpguard-%016" PRIx64, hash_bytes(f->id, strlen(f->id)));
    const struct mail mail = {
        f->from,
        f->to,
        str_fmt(mem, "DMARC failure report for %s from %s", plain_domain(f), ip_text(mem, &f->source)),
        str_fmt(mem, "%s.failure@%s", f->id, f->from->submitter),
        f->now_unix,
        "multipart/report; report-type=feedback-report",
        boundary};

    mail_begin(out, &mail);
    put_note(out, boundary, f);
    put_feedback(mem, out, boundary, f);
    put_message(mem, out, boundary, f);
    mail_end(out, boundary);
}

/* ---- the rate limit ---- */

struct failure_token {
    failure_allowed_fn *done; /* NULL: cancelled */
    void *arg;
};

struct count_question {
    unsigned most[2];
    int64_t expires_unix;
    struct bounce_key fresh;
};

struct count_answer {
    bool allowed;
    struct bounce_key bounces;
};

/* rows[0] and rows[1] are the counts: both or none. rows[2] is the key of our tokens. */
static void count_one(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                      void *result)
{
    struct count_question q;
    struct count_answer answer = {.allowed = true};
    uint64_t numbers[2] = {0};

    (void)count;
    memcpy(&q, question, sizeof(q));
    for (int i = 0; i < 2; i++) {
        str_to_u64(rows[i].value, UINT32_MAX, &numbers[i]);
        answer.allowed = answer.allowed && numbers[i] < q.most[i];
    }
    for (int i = 0; i < 2 && answer.allowed; i++)
        rows[i] = (struct store_row){str_of(str_fmt(mem, "%" PRIu64, numbers[i] + 1)), q.expires_unix};
    if (answer.allowed)
        answer.bounces = bounce_key_keep(mem, &q.fresh, &rows[2]);
    memcpy(result, &answer, sizeof(answer));
}

static void on_counted(enum store_status status, const void *result, void *arg)
{
    struct failure_token *token = arg;
    struct count_answer answer = {0};

    if (status == STORE_DONE)
        memcpy(&answer, result, sizeof(answer));
    if (token->done != NULL)
        token->done(answer.allowed, &answer.bounces, token->arg);
    free(token);
}

struct failure_token *failure_ask(const struct failure_limit *limit, const char *domain,
                                  failure_allowed_fn *done, void *arg)
{
    struct failure_token *token = malloc(sizeof(*token));
    struct arena *mem = arena_new(0);
    int64_t hour = limit->now_unix / 3600;
    struct count_question q = {{limit->per_domain, limit->in_all}, (hour + 2) * 3600, bounce_key_draw()};
    struct store_request request = {.table = "report",
                                    .keys = {str_of(str_fmt(mem, "f%010" PRId64 "%.255s", hour, domain)),
                                             str_of(str_fmt(mem, "f%010" PRId64, hour)), bounce_key_name()},
                                    .keys_count = 3,
                                    .change = count_one,
                                    .question = &q,
                                    .question_bytes = sizeof(q),
                                    .result_bytes = sizeof(struct count_answer)};

    if (token == NULL)
        out_of_memory();
    *token = (struct failure_token){done, arg};
    store_update(limit->store, limit->loop, &request, on_counted, token);
    arena_free(&mem);
    return token;
}

void failure_cancel(struct failure_token **token)
{
    if (*token != NULL)
        (*token)->done = NULL;
    *token = NULL;
}
