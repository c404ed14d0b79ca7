/*
 * report/journal.h - what messages add to DMARC's counters: kept before their 250, counted in bulk
 *
 * journal_add() writes one record to a file in shared memory and adds it to the lot of its like. Half a second
 * later the journal's own loop brings all lots into the store (report/history.h), a few at a time, and the file
 * goes. So a message costs a write to memory, and neither the disk's pace nor the server's is a matter of the
 * workers.
 *
 * Promise    A message is counted once. When journal_add() has returned, a kill -9 does not lose it: whoever opens
 *            the journal next counts what is left there. What was not counted yet when the machine itself
 *            stopped is lost, as are the last commits of a database that does not sync each of them.
 * Threads    journal_add() and the tickets from any thread; all else on the loop's.
 * Limits     JOURNAL_ROWS_BYTES of lots, JOURNAL_FILE_MAX of file. While the store is away both fill. Beyond the lots
 *            messages are not counted, which the log says once and a metric each time.
 * Errors     Shared memory that cannot be used, or takes no more, is said once: all is counted, but not safe from a kill.
 *            While another process counts the same journal (its folder is locked), this one gathers.
 */
#ifndef REPORT_JOURNAL_H
#define REPORT_JOURNAL_H

#include "report/history.h"

enum { JOURNAL_ROWS_BYTES = 8 * 1024 * 1024, JOURNAL_GATHER_MS = 500 };

struct journal;

/* The journal of history's store; `history` is copied. What a former process left is counted from the next turn
 * of the loop on. */
struct journal *journal_open(struct loop *loop, const struct history *history);

/* `mem` is for the moment, and the caller's. */
void journal_add(struct journal *journal, struct arena *mem, const struct history_entry *entry);

/* Is all counted that was added before the ticket was drawn, and what a former process left? From any thread. */
uint64_t journal_ticket(struct journal *journal);
bool journal_has_counted(struct journal *journal, uint64_t ticket);

/* When nobody adds any more. Runs the loop until all is counted, or the store has said that it cannot; what is left
 * then stays in its file. */
void journal_close(struct journal **journal); /* NULL is fine; leaves NULL */

/* For a verb that reads the history, beside the daemon or without one: sees to it that what was added before is
 * counted. Runs the loop, two seconds at the most while another process counts. False: it is not, or not all of it. */
bool journal_catch_up(struct loop *loop, const struct history *history);

#endif
