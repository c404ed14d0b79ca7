/*
 * report/daily.h - the reports of one day, one domain after the other
 *
 * Who gets one: a domain whose record names an address that may have it, of whose mail at least one message
 * was accepted, that is neither suppressed nor ourselves. Those with the most messages come first, so that
 * the daily cap leaves out the smallest; of those with as many, other ones every day. Each domain is leased
 * (report/lease.h), so any number of hosts and processes may run this on one store; what could not be sent is
 * left for the next run.
 *
 * Timing     `done` exactly once, never before daily_start() has returned, never after daily_cancel(). One
 *            mail at a time. Reading the store blocks: give it a loop of its own, with a resolver of its own.
 * Limits     DAILY_DOMAINS_MAX domains of a day are served; of more, those with the fewest messages are only
 *            counted. Memory: some 100 octets each, and one report with its mail, about 2.4 times max_bytes.
 *            DNS: for DAILY_LOOKED_AT times daily_cap domains, none when the cap is reached, and none after
 *            DAILY_RUN_MS.
 * Errors     What concerns one domain is told by on_domain; `fail` of `done` is the store's.
 */
#ifndef REPORT_DAILY_H
#define REPORT_DAILY_H

#include "base/ip.h"
#include "report/aggregate.h"
#include "report/destination.h"
#include "report/send.h"

enum { DAILY_DOMAINS_MAX = 100000, DAILY_LOOKED_AT = 4, DAILY_RUN_MS = 6 * 3600 * 1000 };

/* The fields that sign this mail, each with its CRLF, to go on top; empty: it leaves unsigned. */
typedef struct str daily_sign_fn(struct arena *mem, struct str mail, void *arg);

struct daily_settings {
    struct report_identity identity;
    enum aggregate_format format;
    size_t max_bytes; /* of a report, compressed */
    unsigned daily_cap;
    struct endpoint backend;
    bool verp;                   /* else the null sender */
    const char *dry_run_dir;     /* NULL or "": send; else write the mails there, and lease nothing */
    const char *const *suppress; /* domains and addresses of the settings */
    size_t suppress_count;
    daily_sign_fn *sign; /* NULL: the backend signs, or nobody */
    void *sign_arg;
};

enum daily_fate {
    DAILY_SENT,
    DAILY_WRITTEN,     /* to dry_run_dir */
    DAILY_NOTHING,     /* no rows, or no record that can be read */
    DAILY_ALL_REFUSED, /* not one of its messages was accepted */
    DAILY_OURSELVES,
    DAILY_SUPPRESSED,
    DAILY_NO_DESTINATION, /* none that may have it */
    DAILY_TOO_LARGE,      /* for what each of its addresses says it takes */
    DAILY_REFUSED,        /* by all that were asked, for good */
    DAILY_LATER,          /* DNS or backend trouble: next run */
    DAILY_HELD,           /* another host is at it */
    DAILY_FINISHED,       /* it was sent before, or given up */
    DAILY_CAPPED,
    DAILY_FATES,
};
const char *daily_fate_name(enum daily_fate fate); /* "sent", "all-refused" */

struct daily_domain {
    const char *domain;
    enum daily_fate fate;
    uint64_t messages;
    const char *report_id; /* or NULL */
    const char *to;        /* the addresses that it went to, or the reason; "" */
};

struct daily_result {
    uint64_t domains;
    uint64_t left_out; /* beyond DAILY_DOMAINS_MAX */
    uint64_t fates[DAILY_FATES];
    bool failed; /* the store could not be read */
};

struct daily_ask {
    struct loop *loop;
    struct dns *dns;
    struct store *store;
    const struct clock *clock;
    const struct daily_settings *settings;
    int64_t day;
    const char *only;                                                /* one domain; NULL: all of them */
    void (*on_domain)(const struct daily_domain *domain, void *arg); /* may be NULL */
    void (*done)(const struct daily_result *result, const struct fail *fail, void *arg);
    void *arg;
};

struct daily;
struct daily *daily_start(const struct daily_ask *ask); /* the ask is copied, what it points to is not */
void daily_stop(struct daily *daily); /* the domain at work is the last one; `done` comes when it has ended */
void daily_cancel(struct daily **daily); /* NULL is fine; leaves NULL. A mail on its way may go out once more */

#endif
