#include "proxy/session_in.h"

#include "auth/authres.h"

#include <time.h>

/* The fields we put on top: the mark of a quarantine, Authentication-Results (RFC 8601 4: above the trace it
 * speaks of), then Received (RFC 5321 4.4). Whatever a client said is written only after its characters were
 * checked. */

static const char *iprev_word(enum rdns_state state)
{
    switch (state) {
    case RDNS_VERIFIED:
        return "pass";
    case RDNS_NONE:
        return "permerror"; /* RFC 8601 2.7.3: no PTR at all */
    case RDNS_MISMATCH:
        return "fail";
    case RDNS_TEMPERROR:
        return "temperror";
    default:
        return NULL;
    }
}

void trace_authres(struct session *s, struct buf *out)
{
    const struct facts *f = &s->facts;
    char ip[IP_TEXT_MAX];
    struct authres a = {
        .authserv_id = s->service->config->authserv_id,
        .spf = f->transaction.spf != NULL ? f->transaction.spf : f->session.spf_helo,
        .mail_from = str_dup(s->tx->mem, f->transaction.sender.text),
        .helo = f->session.helo,
        .dkim = f->message.dkim,
        .arc = f->message.arc,
        .dmarc = f->message.dmarc,
        .discovery = f->message.discovery,
        .from_domain = f->message.from_domain,
        .applied = decide_dmarc_disposition(s->service->config, f),
        .iprev = iprev_word(f->session.rdns),
        .client_ip = ip_format(&f->session.client, ip),
    };

    authres_write(out, &a);
}

/* On one line and with nothing in it that needs parsing, for who filters by lines. The names are A-labels. */
static void write_quarantine(const struct session *s, struct buf *out)
{
    const struct message_facts *m = &s->facts.message;

    if (decide_dmarc_disposition(s->service->config, &s->facts) != DMARC_POLICY_QUARANTINE)
        return;
    buf_fmt(out, "%s: dmarc p=%s from=%s\r\n", TRACE_QUARANTINE, dmarc_policy_name(m->dmarc->policy),
            m->from_domain);
}

/* Only characters of names and addresses: anything else in HELO becomes "?" (it may be observed, not
 * refused). */
static void add_clean(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++)
        buf_add_char(out, ascii_is_alnum(*text) || *text == '.' || *text == '-' || *text == '_' ||
                                  *text == ':' || *text == '[' || *text == ']'
                              ? *text
                              : '?');
}

static void add_date(struct buf *out, int64_t unix_s)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t when = (time_t)unix_s;
    struct tm tm;

    gmtime_r(&when, &tm);
    buf_fmt(out, "%s, %02d %s %d %02d:%02d:%02d +0000", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
            tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* RFC 3848, RFC 6531 4.3. Nobody logs in without TLS. */
static const char *with(const struct session *s)
{
    static const char *const words[] = {"ESMTP", "ESMTPS", "ESMTPSA", "UTF8SMTP", "UTF8SMTPS", "UTF8SMTPSA"};
    size_t security = s->facts.session.authenticated ? 2 : conn_tls(s->conn) != NULL ? 1 : 0;

    if (!smtp_server_is_esmtp(s->server))
        return "SMTP";
    return words[(s->tx->smtputf8 ? 3 : 0) + security];
}

static void write_received(struct session *s, struct buf *out)
{
    const struct session_facts *f = &s->facts.session;
    const struct tls_engine *tls = conn_tls(s->conn);
    char ip[IP_TEXT_MAX];

    buf_add_z(out, "Received: from ");
    add_clean(out, f->helo != NULL ? f->helo : "unknown");
    buf_fmt(out, " (%s [%s%s])\r\n\tby %s (smtpguard) with %s id %s",
            f->rdns == RDNS_VERIFIED ? f->rdns_name : "unknown", f->client.family == 6 ? "IPv6:" : "",
            ip_format(&f->client, ip), s->service->config->hostname, with(s), session_message_id(s));
    if (tls != NULL)
        buf_fmt(out, "\r\n\t(%s %s)", tls_engine_version(tls), tls_engine_cipher(tls));
    /* With several recipients the field would tell each of them about the others (RFC 5321 7.2). */
    if (s->tx->recipients != NULL && s->tx->recipients->next == NULL) {
        buf_add_z(out, "\r\n\tfor <");
        buf_add_str(out, s->tx->recipients->address);
        buf_add_z(out, ">");
    }
    buf_add_z(out, ";\r\n\t");
    add_date(out, clock_unix(s->service->clock));
    buf_add_z(out, "\r\n");
}

void trace_write(struct session *s, struct buf *out)
{
    buf_init(out, 64 * 1024);
    if (!facts_may_relay(&s->facts.session)) {
        write_quarantine(s, out);
        trace_authres(s, out);
    }
    write_received(s, out);
}
