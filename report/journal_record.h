/*
 * report/journal_record.h - one message of the journal as octets; for report/journal.c
 *
 * Pure. Reading is total: any octets give a valid lot or false.
 */
#ifndef REPORT_JOURNAL_RECORD_H
#define REPORT_JOURNAL_RECORD_H

#include "report/history.h"

struct str journal_record(struct arena *mem, const struct history_lot *lot); /* of one message; from `mem` */
bool journal_record_read(struct str record, struct history_lot *lot_out);    /* points into the record */

/* What makes a lot, as it lies in its record; and of such a key what makes its day, origin and domain. */
struct str journal_record_key(struct str record, const struct history_lot *lot);
struct str journal_record_domain_key(struct str key, const struct history_lot *lot);

#endif
