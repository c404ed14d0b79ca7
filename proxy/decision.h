/*
 * proxy/decision.h - one decision as a record: all that the checks found, and what was made of it
 *
 * A record is one JSON object on one line. decision_put_…() write its parts; decision_read() makes facts of it again,
 * all those that decide_…() look at, so that they can be explained, and decided again under other settings. Its keys are
 * listed in docs/explain.md; what is NULL, empty, false or "not asked" is left out.
 *
 * Limits     A text is cut at DECISION_TEXT_MAX octets; DECISION_SIGNATURES_MAX signatures are told, those that pass
 *            before the others, and DECISION_RECIPIENTS_MAX recipients. A record is at most DECISION_BYTES_MAX long.
 * Privacy    Addresses are written as log.privacy lets the log show them, those within texts of replies and of SPF's
 *            explanations, too.
 */
#ifndef PROXY_DECISION_H
#define PROXY_DECISION_H

#include "base/json.h"
#include "proxy/decide.h"

enum {
    DECISION_TEXT_MAX = 512,
    DECISION_SIGNATURES_MAX = 50,
    DECISION_RECIPIENTS_MAX = 200,
    DECISION_RECIPIENTS_BYTES_MAX = 96 * 1024,
    DECISION_BYTES_MAX = 512 * 1024,
};

/* What the client was told, and who decided: a check, "backend", or NULL when it was accepted. */
struct decision_outcome {
    enum action action;
    int code; /* 0: nothing was said */
    const char *enhanced, *check, *text;
    const char *const *observed; /* checks that would have refused */
    size_t observed_count;
};

/* ---- written ---- */

void decision_put_client(struct json *json, const struct facts *facts, const char *tls);
void decision_put_transaction(struct json *json, const struct facts *facts);
void decision_put_recipient(struct json *json, const struct facts *facts, const char *suspicion,
                            const struct decision_outcome *outcome);
void decision_put_message(struct json *json, const struct facts *facts, struct str message_id);
void decision_put_outcome(struct json *json, const char *key, const struct decision_outcome *outcome);
void decision_put_text(struct json *json, const char *key,
                       const char *text); /* bounded; NULL and "" are left out */

/* ---- read ---- */

struct decision_recipient {
    const char *to;
    struct recipient_facts facts;
    bool dns_sick; /* then */
    uint32_t grey_ms;
    const char *suspicion;
    struct decision_outcome outcome;
};

struct decision {
    const char *id;
    int64_t time_unix; /* at its end */
    int64_t ms;        /* that it took */
    const char
        *at; /* how far it came: "limits", "connect", "helo", "auth", "mail", "rcpt", "data", "message" */
    const char *listener;
    const char *from; /* as recorded; NULL: there was no MAIL */
    const char *tls, *message_id, *backend, *signing;
    const char *end; /* why the session ended, when that ended this */
    unsigned failed_logins;
    enum dmarc_policy disposition; /* what DMARC's policy came to here */
    struct facts facts;            /* those of a recipient are with it */
    struct decision_recipient *recipients;
    size_t recipients_count;
    int64_t recipients_left_out, signatures_left_out; /* for which there was no room */
    struct decision_outcome outcome;
};

/* False: it is no record. Everything lives in mem. */
bool decision_read(struct arena *mem, struct str line, struct decision *decision_out);

#endif
