/*
 * report/suppress.h - who gets no reports
 *
 * Rows of the store's table "report": an address, or a domain (of the policy, or of the address). Put there
 * by hand they stay until they are removed. An address that is refused for good (5xx) on SUPPRESS_REFUSALS
 * days, with no delivery in between, is put there by itself for SUPPRESS_DAYS: a dead mailbox is not tried
 * forever, and not given up forever. So is one from which our mail comes back (report/bounce.h) on as many days,
 * each within SUPPRESS_BOUNCE_DAYS of the one before.
 *
 * Limits  Rows that come by themselves expire. Those made by hand are the operator's to bound.
 */
#ifndef REPORT_SUPPRESS_H
#define REPORT_SUPPRESS_H

#include "store/store.h"

enum { SUPPRESS_REFUSALS = 3, SUPPRESS_DAYS = 90, SUPPRESS_BOUNCE_DAYS = 14 };

struct suppress_row {
    const char *whom; /* "dmarc@example.org" or "example.org" */
    bool by_hand, bounced;
    unsigned refusals;    /* on different days */
    int64_t last_day;     /* of a refusal */
    int64_t expires_unix; /* 0: never */
    const char *reason;   /* what the other side said, or the operator's words */
};

bool suppress_holds(const struct suppress_row *row); /* else it only counts towards it */

typedef bool suppress_each_fn(const struct suppress_row *row, void *arg);
int suppress_each(struct store *store, suppress_each_fn *each, void *arg, struct fail *fail);

/* Is this address, or its domain, or the policy domain suppressed? On the calling thread; 1, 0, or -1. */
int suppress_find(struct store *store, struct arena *mem, const char *policy_domain, const char *address,
                  const char **why_out, struct fail *fail);

/* The same without blocking; the result is a bool. `done` as store_update()'s. */
struct store_token *suppress_ask(struct store *store, struct loop *loop, const char *policy_domain,
                                 const char *address, store_done_fn *done, void *arg);

/* Is one of them in a list of the settings? address may be NULL. Pure. */
bool suppress_is_listed(const char *const *list, size_t count, const char *policy_domain,
                        const char *address);

/* `done` as store_update()'s, or NULL; there is no result. */
void suppress_by_hand(struct store *store, struct loop *loop, const char *whom, const char *reason,
                      store_done_fn *done, void *arg);
void suppress_remove(struct store *store, struct loop *loop, const char *whom, store_done_fn *done,
                     void *arg);
void suppress_learn(struct store *store, struct loop *loop, const char *address, bool refused,
                    int64_t now_unix, const char *reason, store_done_fn *done, void *arg);

/* A mail of ours to `address` came back, with `token`. `ours` says whether it was one: only then something was
 * learnt. `done` exactly once on the loop, later; it cannot be called off. */
typedef void suppress_bounced_fn(bool ours, void *arg);
void suppress_learn_bounce(struct store *store, struct loop *loop, const char *address, const char *token,
                           int64_t now_unix, suppress_bounced_fn *done, void *arg);

#endif
