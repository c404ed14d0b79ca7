/*
 * proxy/replay.h - a decision on record, made again under other settings
 *
 * Pure. The facts are those of the record, but for what follows from the settings alone: who is trusted, which domains and
 * recipients are ours, which lists count and how much, which checks are off. What nobody asked then has no answer now: that
 * is a gap, and the decision is made without it.
 *
 * Not decided again: what the backend said, refusals by the limits, and whatever comes after an answer that would now be another.
 */
#ifndef PROXY_REPLAY_H
#define PROXY_REPLAY_H

#include "proxy/decision.h"

enum replay_gap {
    REPLAY_GAP_CLIENT = 1 << 0, /* it was trusted, and so nothing was checked */
    REPLAY_GAP_LISTS = 1 << 1,  /* a list was not asked */
    REPLAY_GAP_SENDER = 1 << 2, /* the sender's domain was not looked up */
    REPLAY_GAP_SPF = 1 << 3,
    REPLAY_GAP_DKIM = 1 << 4,
    REPLAY_GAP_DMARC = 1 << 5,
    REPLAY_GAP_GREYLIST = 1 << 6,
};
enum { REPLAY_GAPS = 7 };
const char *replay_gap_name(enum replay_gap gap); /* "client", "dnsbl", … */

/* One answer, as it was and as it would be. Of ours: where only the backend refused, it was accepted. */
struct replay_answer {
    const char *moment;                         /* "connect", "helo", "rcpt", "message" */
    const struct decision_recipient *recipient; /* of "rcpt"; else NULL */
    enum action was;
    const char *was_check; /* NULL with ACTION_ACCEPT */
    struct verdict would;
    enum dmarc_policy was_disposition, would_disposition; /* of "message" */
};
bool replay_is_same(const struct replay_answer *answer); /* the texts may differ */

/* All answers that can be compared, in their order, from mem. */
struct replay {
    const struct replay_answer *answers;
    size_t count;
    unsigned gaps; /* enum replay_gap */
};
struct replay replay_decision(struct arena *mem, const struct config *config,
                              const struct decision *decision);

#endif
