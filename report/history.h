/*
 * report/history.h - what each evaluated message adds to the counters of its day     RFC 9990 2.1, 3.1
 *
 * One row with a count, not one row a message: messages that a report could not tell apart share a row. Three
 * kinds of row lie in the store's table "dmarc", those of a domain's day side by side; <day> is four octets,
 * days since 1970 in UTC, and <origin> says which host counted:
 *
 *     <day> <domain> NUL c <hash of the tuple> <origin>   messages, how many were accepted, and the tuple itself
 *     <day> <domain> NUL r <hash of the record>           the record as published
 *     <day> <domain> NUL t <origin>                       how many rows c there are, and messages without one
 *
 * Messages come in lots (report/journal.h gathers them). A lot whose row is there changes that one row; only a
 * new one looks at the other two. Each row remembers the mark of the last lot that it took, so the same lot may
 * come twice, as long as no other one of this origin came between.
 *
 * Merging hosts takes the greater count of the same origin, and a report adds up the origins: so a row may be
 * imported any number of times.
 *
 * Ownership  What is asked with is copied.
 * Timing     `done` exactly once on the asking loop, never before the call has returned: the row has been
 *            committed then. Without an answer before the loop ends, the little memory is lost with it.
 * Limits     HISTORY_ROWS_MAX distinct rows a domain, a day and an origin. Messages beyond are counted as left
 *            out, and the report says how many: a row that said "other" would need a source address and
 *            results that nobody had. Ten signatures a message, names of 255 octets, comments of 100, records
 *            of HISTORY_RECORD_MAX: cut at the last whole tag or address.
 * Errors     HISTORY_UNAVAILABLE is a value: the store cannot be used now, and it is the caller's to come again.
 */
#ifndef REPORT_HISTORY_H
#define REPORT_HISTORY_H

#include "auth/dmarc.h"
#include "store/store.h"

enum { HISTORY_DKIM_MAX = 10, HISTORY_ROWS_MAX = 10000, HISTORY_RECORD_MAX = 4000, HISTORY_KEEP_DAYS = 14 };
enum { HISTORY_DAY_S = 86400 };
#define HISTORY_MARK_END ((uint64_t)1 << 56)

/* Why the policy was not applied as published (RFC 9990 3.1.1.9). */
enum history_override {
    HISTORY_AS_PUBLISHED,
    HISTORY_LOCAL_POLICY,
    HISTORY_MAILING_LIST,
    HISTORY_TEST_MODE,
    HISTORY_TRUSTED_FORWARDER,
    HISTORY_OTHER,
};

struct history_dkim {
    const char *domain, *selector;
    enum dkim_result result;
};

struct history_entry {
    int64_t day;               /* days since 1970, UTC */
    const char *policy_domain; /* where the record was found */
    struct str record;         /* as published */
    struct ip source;
    enum dmarc_policy disposition; /* what was done */
    bool dkim_aligned, spf_aligned;
    bool accepted; /* by the backend; the count knows it, the tuple does not */
    const char *header_from;
    const char *envelope_from; /* the domain; "" for the null sender */
    const char *envelope_to;   /* the domain of the (first) recipient; "" : unknown */
    const char *spf_domain;    /* "" or NULL: SPF was not checked */
    enum spf_scope spf_scope;
    enum spf_result spf_result;
    size_t dkim_count;
    struct history_dkim dkim[HISTORY_DKIM_MAX];
    enum history_override override;
    const char *comment; /* of the override; "" or NULL: none */
};

struct history {
    struct store *store;
    uint64_t origin;
    unsigned rows_max, keep_days;
};

/* `hostname` makes the origin: hosts whose rows shall be merged need different ones. */
void history_init(struct history *history, struct store *store, const char *hostname);

/* Only messages under a policy whose owner asks for reports are kept: nobody else could ever be told. */
bool history_is_wanted(const struct dmarc_discovery *discovery);

/* Messages of one origin that a report cannot tell apart. */
struct history_lot {
    int64_t day;
    uint64_t origin;
    struct str domain, record, tuple;
    uint64_t messages, accepted;
};

/* One message. What the lot points to is from `mem`, or the entry's. */
struct history_lot history_lot_of(const struct history *history, struct arena *mem,
                                  const struct history_entry *entry);
bool history_lot_is_valid(const struct history_lot *lot); /* of one that comes from a file */
bool history_lot_passes(const struct history_lot *lot);   /* DMARC: something was aligned */

enum history_outcome {
    HISTORY_COUNTED,
    HISTORY_FULL, /* there is no row, and no room for one: history_leave_out() */
    HISTORY_UNAVAILABLE,
};
typedef void history_done_fn(enum history_outcome outcome, void *arg);

/* `mark` names what the lot belongs to; not 0, and less than HISTORY_MARK_END. */
void history_add(const struct history *history, struct loop *loop, const struct history_lot *lot, uint64_t mark,
                 history_done_fn *done, void *arg);

/* Messages of a domain's day that have no row; `passed` of them had something aligned. The lot's record and tuple are
 * not looked at. */
void history_leave_out(const struct history *history, struct loop *loop, const struct history_lot *lot,
                       uint64_t passed, uint64_t mark, history_done_fn *done, void *arg);

/* ---- reading, on the calling thread ---- */

struct history_sums {
    uint64_t rows;     /* of all origins */
    uint64_t messages; /* all of them */
    uint64_t accepted, passed, left_out;
};

/* The domains of a day with the sums of all origins; day < 0: of every day, in order. False: enough. */
typedef bool history_domain_fn(int64_t day, const char *domain, const struct history_sums *sums, void *arg);
int history_each_domain(struct store *store, int64_t day, history_domain_fn *each, void *arg,
                        struct fail *fail);

/* The messages of a domain's day that have no row. */
int history_left_out(struct store *store, int64_t day, const char *domain, uint64_t *count_out,
                     struct fail *fail);

/* The rows of a domain's day in a stable order, origins added up. The entry's strings are good until `each`
 * returns; policy_domain is the caller's, record is empty: record_hash is the number of it. */
typedef bool history_row_fn(const struct history_entry *entry, uint64_t record_hash, uint64_t count,
                            void *arg);
int history_each_row(struct store *store, int64_t day, const char *domain, history_row_fn *each, void *arg,
                     struct fail *fail);

/* The record of that number; n = 0: there is none. */
int history_record(struct store *store, struct arena *mem, int64_t day, const char *domain,
                   uint64_t record_hash, struct str *record_out, struct fail *fail);

/* ---- moving rows between hosts ---- */

/* Is this a row that history_add() or history_leave_out() could have written? */
bool history_row_is_valid(struct str key, struct str value);

/* Puts a valid row of another host beside ours: the greater count wins. */
void history_merge(const struct history *history, struct loop *loop, struct str key, struct str value,
                   store_done_fn *done, void *arg);

void history_forget(const struct history *history, struct loop *loop, struct str key, store_done_fn *done,
                    void *arg);
int64_t history_day_of(struct str key); /* -1: not a row of ours */

/* What another program has counted: the origin's count of this tuple is `total` at least, and the sums grow
 * by what is new. */
void history_set(const struct history *history, struct loop *loop, const struct history_entry *entry,
                 uint64_t origin, uint64_t total, history_done_fn *done, void *arg);

enum { HISTORY_DATE_MAX = 16 };
const char *history_date(int64_t day, char text[HISTORY_DATE_MAX]); /* "2026-11-23"; returns text */

const char *history_override_name(enum history_override override); /* "mailing_list" */

/* For report/ and its verbs. */
extern const char history_table[];

#endif
