/*
 * proxy/session_in.h - the inside of a session, for the files that make it: session and its parts, checks, intake,
 * trace, record
 */
#ifndef PROXY_SESSION_IN_H
#define PROXY_SESSION_IN_H

#include "proxy/decide.h"
#include "proxy/login.h"
#include "proxy/session.h"
#include "smtp/proxy_header.h"
#include "smtp/server.h"
#include "tls/conn.h"

/* Whatever a session waits for has its bit here while it is in flight; whoever clears one calls
 * session_step(). */
enum wait {
    WAIT_BANNER = 1 << 0,
    WAIT_RDNS = 1 << 1,
    WAIT_DNSBL = 1 << 2,
    WAIT_SPF_HELO = 1 << 3,
    WAIT_SPF = 1 << 4,
    WAIT_SENDER = 1 << 5,
    WAIT_GREY = 1 << 6,
    WAIT_DKIM = 1 << 7,
    WAIT_DMARC = 1 << 8,
    WAIT_ALIGNMENT = 1 << 9,
    WAIT_BACKEND = 1 << 10,
    WAIT_TLS = 1 << 11,
    WAIT_DOMAINS = 1 << 12,
    WAIT_FROM_DOMAIN = 1 << 13,
    WAIT_ARC = 1 << 14,
    WAIT_SPOOL = 1 << 15,
    WAIT_OFFER = 1 << 16,
};

enum phase { PHASE_ASK, PHASE_DECIDE, PHASE_ACT, PHASE_ANSWER };

struct stage;

/* A message while it comes in. */
struct intake {
    struct buf head; /* up to and with the empty line */
    size_t looked;   /* how far the end of the header section was looked for */
    bool header_done;
    struct str section; /* the header section inside head */
    struct header header;
    struct spool *spool; /* the body */
    struct dkim_verifier *dkim;
    struct arc_verifier *arc;
    struct dkim_signer *signer;
    struct str signatures;    /* what the signer made of it */
    uint64_t rate_bytes;      /* since the last look at the clock */
    uint64_t span_bytes;      /* between the last two; before the second, as many as one likes */
    struct dkim_hash *octets; /* all of them, for LMTP (proxy/partial.h); NULL: nobody asks */
};

struct recipient {
    struct recipient *next;
    struct str address;
};

/* Everything of one MAIL … end of message; its arena goes with it. */
struct transaction {
    struct arena *mem;
    struct recipient *recipients, **recipients_end; /* those the backend took */
    unsigned accepted, refused, deferred;
    uint64_t declared_size;
    bool eightbit, binary, smtputf8, requiretls;
    struct str dsn; /* parameters of DSN, for the backend */
    struct spf_query *spf;
    struct dns_token *sender_query;
    enum dns_type sender_asks;
    struct grey_query *grey;
    struct dnsbl_query *domains, *from_domain;
    struct timer domains_deadline, from_domain_deadline;
    struct dmarc_query *dmarc;
    struct dmarc_alignment *alignment;
    struct relay *relay;
    struct store_token *recall;
    struct intake *intake;
    struct buf trace; /* our fields, on top */
    int64_t begun_ms;
    const char *backend;
    const char *backend_text; /* what it said to the message */
    const char *suspicion;
    const char *unsigned_why; /* why mail of our own clients could not be signed */
    struct buf told;          /* what was answered to recipients, for the record */
    unsigned told_count, untold_count;
    bool is_recorded;
};

struct refusal; /* decided.c */

/* Memory that goes on the next turn of the loop, because a caller on the stack may still use it. It lies in
 * that memory. */
struct grave {
    struct arena *mem;
    struct grave *next;
};

struct session {
    struct service *service;
    const struct listen_settings *listen;
    struct session *next, *previous;
    struct arena *mem;
    struct conn *conn;
    struct smtp_server *server;
    struct buf out;
    struct facts facts;
    struct arena *helo_mem; /* of the last HELO: its name and its SPF. NULL before the first */
    struct transaction *tx;
    struct grave *graves;
    struct verdict verdict;

    const struct stage *stage; /* NULL: at rest, the client's turn */
    enum phase phase;
    unsigned waits;          /* enum wait */
    struct smtp_event event; /* what the stage is about */
    int reply_code;          /* of the act, when the answer is not ours */
    const char *reply_enhanced;
    struct str reply_text;

    struct timer idle, budget, whole, lists_deadline;
    struct later burial, funeral;
    struct dns_token *rdns_query, *forward_query;
    struct dnsbl_query *lists;
    struct spf_query *spf_helo;
    struct store_token *history;
    struct login_probe *probe;
    struct hearing_wait hearing;
    struct login *login; /* AUTH that goes on, or has succeeded */
    char mechanism[24];  /* of the last AUTH (RFC 4422 3.1: 20 letters) */
    unsigned failed_logins;
    struct refusal *refusal; /* NULL: there was none before MAIL */
    bool login_lost;

    struct proxy_header_reader proxy; /* while awaits_proxy */
    bool awaits_proxy;                /* the balancer has not said yet who the client is */
    bool entered;                     /* counted by the limits, as this host, and the metrics */
    struct ip counted;
    bool introduced; /* by XCLIENT: nobody waits at the banner */

    char id[11];
    unsigned messages, commands;
    int64_t begun_ms;
    bool stepping, again, input_ended, ended, draining;
    bool overdue;       /* a message is waited for, then it ends */
    bool paused;        /* reading, because the spool's disk is behind */
    bool held_back;     /* reading, because commands wait for an answer */
    const char *moment; /* of the stage that is being answered, for the log */
    const char *end_why;
};

void session_step(struct session *s);
void session_greet(struct session *s);     /* the first stage */
void session_start_tls(struct session *s); /* from here on the connection is encrypted, or ends */
extern const struct conn_events session_conn_events;

/* The backend's word, and whom it is told about. */
const char *session_enhanced_of(const struct relay_reply *reply);
struct smtp_identity session_identity(struct arena *mem,
                                      const struct session *s); /* from mem, or the session's own */

/* session_auth.c: AUTH. */
bool session_takes_logins(const struct session *s); /* where and when AUTH may be offered at all */
void offer_login(struct session *s);
void act_auth(struct session *s);
void answer_auth(struct session *s);

/* session_transaction.c: MAIL, RCPT, and the end of both. */
void open_transaction(struct session *s);
void reset_transaction(struct session *s); /* none is fine */
void act_rcpt(struct session *s);
void answer_rcpt(struct session *s);

/* arrival.c: from the socket to the first stage. */
struct smtp_server_settings arrival_settings(const struct service *service); /* as backends are known now */
bool arrival_introduce(struct session *s, const char **why_out); /* XCLIENT: another client, from here on */
void arrival_data(struct session *s, const char *bytes, size_t n);

void session_bury(struct session *s, struct arena *mem); /* frees it, soon */

void session_wait_for(struct session *s, enum wait what);
void session_heard(struct session *s, unsigned what);    /* clears the bits, and notes how long it took */
void session_got(struct session *s, enum wait what);     /* does that and steps */
bool session_is_inbound(const struct session *s); /* from the world, and so to be checked */
const char *session_message_id(const struct session *s); /* "5F3A91C0Q7.1", in the transaction's memory */

/* history.c: clients that behaved, remembered in the store. */
void history_ask(struct session *s, store_done_fn *done); /* its result: a bool, "this client is good" */
bool history_is_good(const void *result);
void history_praise(struct session *s);

/* recipients.c: the backend's answer to RCPT is learnt. True: it cannot be reached, what it said before is looked for, and
 * session_got(s, WAIT_BACKEND) follows. */
bool recipients_heard(struct session *s, const struct relay_reply *reply);

/* checks.c: each starts one fact; those that wait set their bit. */
void check_rdns(struct session *s);
void check_banner(struct session *s);
void check_helo(struct session *s);
void check_spf_helo(struct session *s);
void check_offer(struct session *s); /* what backends offer */
void check_spf(struct session *s);
void check_sender_domain(struct session *s);
void check_recipient(struct session *s);
void check_greylist(struct session *s);
void check_body(struct session *s); /* the body is complete: DKIM's answer */
void check_alignment(struct session *s);

/* checks_lists.c: the same for DNS lists; the last three are called by checks_give_up() and checks_cancel_…(). */
void check_dnsbl(struct session *s);       /* the client */
void check_domains(struct session *s);     /* of HELO, PTR and MAIL FROM */
void check_from_domain(struct session *s); /* of From */
void lists_give_up(struct session *s, unsigned what);
void lists_cancel_session(struct session *s);
void lists_cancel_transaction(struct session *s);

/* decided.c: what was decided goes on record. */
void decided_stage(struct session *s, const char *moment); /* a greeting or a command before MAIL */
void decided_recipient(struct session *s);
void decided_message(struct session *s, int code, const char *text);
void decided_transaction(struct session *s); /* ends here, whether it came to a message or not */
void decided_session(struct session *s);
void decided_limits(struct service *service, const struct listen_settings *listen, const struct ip *ip,
                    const char *check, const char *reply);

/* counted.c: DMARC's counters have it. */
void counted_message(struct session *s);

/* feedback.c: a failure report to the author's domain, when it asks for one. Afterwards: `code` was the reply. */
void feedback_message(struct session *s, int code);
void feedback_bounce(struct session *s);                 /* a report of ours that came back: learnt */
bool feedback_is_about_reports(const struct session *s); /* this message is itself part of the reporting */

/* Calls off what is in flight of `what`; those facts become temperror or unanswered. */
void checks_give_up(struct session *s, unsigned what);
void checks_cancel_session(struct session *s);
void checks_cancel_transaction(struct session *s);

/* intake.c: the message as it comes in. */
void intake_begin(struct session *s);
void intake_add(struct str piece, void *session); /* the body sink of smtp/server.h */
void intake_end(struct session *s);               /* the end of the message came */
void intake_free(struct session *s);
/* The pieces that go to the backend: our fields, the header without forged fields, the empty line. */
struct relay_message intake_message(struct session *s);

/* trace.c: what we put on top. */
#define TRACE_QUARANTINE "X-Smtpguard-Quarantine" /* the field that marks a quarantine */
void trace_write(struct session *s, struct buf *out);
void trace_authres(struct session *s, struct buf *out); /* the first of them alone */

/* record.c: the log lines and the counters. */
void record_connect(const struct session *s);
void record_login(const struct session *s);
void record_recipient(const struct session *s);
void record_message(const struct session *s, int code, const char *text);
void record_stage(const struct session *s, const char *moment); /* of a greeting or command that was judged */
void record_end(const struct session *s);

#endif
