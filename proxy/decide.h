/*
 * proxy/decide.h - facts and settings in, verdict out
 *
 * Pure: no I/O, no clock, no memory of earlier calls. A table test can try every combination, and `replay`
 * can ask again under other settings. Whether doubt is guilt (temperror, a list that did not answer) is
 * decided here and nowhere else; by default it never is.
 *
 * A check in mode `observe` never refuses: its name goes to `observed`, to be logged and counted. The global
 * mode `observe` makes all of them so.
 */
#ifndef PROXY_DECIDE_H
#define PROXY_DECIDE_H

#include "proxy/facts.h"
#include "report/history.h"

enum action { ACTION_ACCEPT, ACTION_REJECT, ACTION_DEFER, ACTION_GREYLIST, ACTION_DROP };

enum { VERDICT_TEXT = 400, VERDICT_OBSERVED = 8 };

struct verdict {
    enum action action;
    int code; /* the reply; 0 with ACTION_ACCEPT */
    const char *enhanced;
    char text[VERDICT_TEXT];                /* of the reply: what the sender can do about it */
    const char *check;                      /* who decided: "dnsbl", "spf", … ; NULL with ACTION_ACCEPT */
    const char *observed[VERDICT_OBSERVED]; /* checks that would have refused */
    size_t observed_count;
};

static inline bool verdict_refuses(const struct verdict *v)
{
    return v->action != ACTION_ACCEPT;
}

struct verdict decide_greeting(const struct config *config, const struct facts *facts);
struct verdict decide_helo(const struct config *config, const struct facts *facts);
struct verdict decide_rcpt(const struct config *config, const struct facts *facts); /* before greylisting */
struct verdict decide_greylist(const struct config *config, const struct facts *facts);
struct verdict decide_message(const struct config *config, const struct facts *facts);

/* Must this client wait? NULL: no; else the sign that makes it suspicious ("dnsbl", "rdns", "spf", "helo",
 * "always"). */
const char *decide_is_suspicious(const struct config *config, const struct facts *facts);

/* What all DNS lists say together: of the client's address, of the names it uses, and of the one in From. */
int decide_list_score(const struct facts *facts);

/* What DMARC's policy comes to after local rules (docs/dmarc.md), for the A-R field and the record. */
enum dmarc_policy decide_dmarc_disposition(const struct config *config, const struct facts *facts);

/* Why the owner's policy was not applied as published (RFC 9990 3.1.1.9). */
enum history_override decide_dmarc_override(const struct config *config, const struct facts *facts);

const char *action_name(enum action action); /* "accept", "reject", "defer", "greylist", "drop" */

#endif
