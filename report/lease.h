/*
 * report/lease.h - one host, one process sends a domain's report, once
 *
 * A row of the store's table "report" for each domain and day. Who claims it has LEASE_S to send, then
 * anybody may go on where he stopped: destinations that were served are in the row, and so is the host that
 * named the report, so that whoever sends it again uses the same Report-ID. Between the backend's 250 and the
 * row there is a moment in which a crash makes a second mail: with the same id, so that it can be recognised.
 *
 * The daily cap counts reports of the calendar day on which they are claimed first.
 *
 * Timing   As store_update(). The result is a struct lease_answer for lease_claim(), nothing for the others.
 */
#ifndef REPORT_LEASE_H
#define REPORT_LEASE_H

#include "report/bounce.h"
#include "report/destination.h"
#include "store/store.h"

enum { LEASE_S = 900, LEASE_ATTEMPTS = 8, LEASE_NAME_MAX = 100 };

enum lease_state {
    LEASE_OURS,
    LEASE_HELD,     /* by somebody else, for now */
    LEASE_FINISHED, /* sent, or given up */
    LEASE_CAPPED,   /* enough reports for today */
};

struct lease_answer {
    enum lease_state state;
    uint64_t served[DESTINATIONS_MOST]; /* lease_address_hash(); 0: none */
    char named_by[LEASE_NAME_MAX + 1];  /* the hostname that makes the Report-ID */
    struct bounce_key bounces;          /* of this store; with LEASE_OURS */
};

struct lease {
    struct store *store;
    struct loop *loop;
    uint64_t holder; /* of this process: lease_holder() */
    int64_t day;
    const char *domain;
    int64_t now_unix;
};

uint64_t lease_holder(void);
uint64_t lease_address_hash(const char *address); /* never 0 */

void lease_claim(const struct lease *lease, unsigned daily_cap, const char *hostname, store_done_fn *done,
                 void *arg);
/* The backend has taken the mail to this address; the lease goes on. */
void lease_served(const struct lease *lease, const char *address, store_done_fn *done, void *arg);
/* Else another try later: LEASE_ATTEMPTS at the most, but for those that nobody was asked in. */
enum lease_end { LEASE_AGAIN, LEASE_UNTRIED, LEASE_DONE };
void lease_end(const struct lease *lease, enum lease_end how, store_done_fn *done, void *arg);

/* For the list and the status: the state of each domain and day. */
struct lease_row {
    int64_t day;
    const char *domain; /* good until `each` returns */
    bool finished;
    bool sent; /* to somebody */
    unsigned attempts;
};
typedef bool lease_each_fn(const struct lease_row *row, void *arg); /* false: enough */
/* Of a day, or with day < 0 of all, in order. */
int lease_each(struct store *store, int64_t day, lease_each_fn *each, void *arg, struct fail *fail);
/* How many reports count for the daily cap of the day of now_unix. */
int lease_count(struct store *store, int64_t now_unix, uint64_t *count_out, struct fail *fail);

#endif
