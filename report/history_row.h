/*
 * report/history_row.h - the rows of the history as octets; for report/history*.c only
 *
 * Pure. The unpacking is total: any octets give an entry or false. Strings of an unpacked entry are from
 * `mem`.
 */
#ifndef REPORT_HISTORY_ROW_H
#define REPORT_HISTORY_ROW_H

#include "report/history.h"

enum { HISTORY_COUNT = 'c', HISTORY_RECORD = 'r', HISTORY_SUMS = 's' };
enum { HISTORY_TUPLE_MAX = 3500, HISTORY_DOMAIN_AT = 5 /* where the domain begins in a key */ };

struct history_key {
    char kind;
    int64_t day;
    struct str domain;
    struct str tail; /* the octets behind the NUL */
};

struct str history_key_make(struct arena *mem, char kind, int64_t day, struct str domain, struct str tail);
struct str history_key_prefix(struct arena *mem, char kind, int64_t day,
                              const char *domain); /* day < 0, NULL: all */
bool history_key_read(struct str key, struct history_key *key_out);

struct str history_octets(struct arena *mem, uint64_t number); /* eight, most significant first */
uint64_t history_number(struct str eight);
struct str history_hash(struct arena *mem, struct str tuple,
                        struct str origin); /* the tail of a count's key */
uint64_t history_record_hash(struct str record);
struct str history_record_cut(struct str record);

struct str history_tuple_pack(struct arena *mem, const struct history_entry *entry);
bool history_tuple_unpack(struct arena *mem, struct str tuple, struct history_entry *entry_out,
                          uint64_t *record_hash_out);

struct str history_sums_pack(struct arena *mem, const struct history_sums *sums);
bool history_sums_unpack(struct str value, struct history_sums *sums_out); /* of n = 0: zeros */

#endif
