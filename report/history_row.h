/*
 * report/history_row.h - the rows of the history as octets; for report/history*.c and the tests only
 *
 * Pure. The unpacking is total: any octets give an entry or false. Strings of an unpacked entry are from
 * `mem`.
 */
#ifndef REPORT_HISTORY_ROW_H
#define REPORT_HISTORY_ROW_H

#include "report/history.h"

enum history_kind { HISTORY_ANY = 0, HISTORY_COUNT = 'c', HISTORY_RECORD = 'r', HISTORY_TALLY = 't' };
enum { HISTORY_NAME_MAX = 255, HISTORY_TUPLE_MAX = 3500, HISTORY_DOMAIN_AT = 4 /* where the domain begins in a key */ };

struct history_key {
    int64_t day;
    struct str domain;
    enum history_kind kind;
    struct str tail; /* the octets behind the kind */
};

struct str history_key_make(struct arena *mem, int64_t day, struct str domain, enum history_kind kind,
                            struct str tail);
/* day < 0: of all days; domain NULL: of all domains; HISTORY_ANY: of all kinds. */
struct str history_key_prefix(struct arena *mem, int64_t day, const char *domain, enum history_kind kind);
bool history_key_read(struct str key, struct history_key *key_out);

struct str history_octets(struct arena *mem, uint64_t number); /* eight, most significant first */
uint64_t history_number(struct str eight);
struct str history_hash(struct arena *mem, struct str tuple,
                        struct str origin); /* the tail of a count's key */
uint64_t history_record_hash(struct str record);
struct str history_record_cut(struct str record);

/* `record` is the entry's, cut. */
struct str history_tuple_pack(struct arena *mem, const struct history_entry *entry, uint64_t record_hash);
bool history_tuple_unpack(struct arena *mem, struct str tuple, struct history_entry *entry_out,
                          uint64_t *record_hash_out);

bool history_tuple_passes(struct str tuple); /* DMARC: something was aligned */

/* The value of a count: how many messages, how many of them were accepted, the mark of the last lot (0: none), and
 * the tuple. */
struct history_count {
    uint64_t messages, accepted, mark;
    struct str tuple;
};
struct str history_count_pack(struct arena *mem, const struct history_count *count);
bool history_count_unpack(struct str value, struct history_count *count_out); /* of n = 0: false */

/* What one host knows of a domain's day beside its counts: how many rows those are, and the messages that
 * have none. */
struct history_tally {
    uint64_t rows, left_out, accepted, passed;
    uint64_t mark; /* of the last messages that were left out; 0: none */
};
struct str history_tally_pack(struct arena *mem, const struct history_tally *tally);
bool history_tally_unpack(struct str value, struct history_tally *tally_out); /* of n = 0: zeros */

#endif
