/*
 * record/keeper.h - records are written to files, and kept for a while
 *
 * Timing     Nobody who adds a record waits for a disk: a thread of the keeper's own writes, several times a second at the
 *            most. While the disk hangs, is full or cannot be written, records are lost, counted, and an alarm
 *            says so once; nothing else happens. A kill loses what was added in the last KEEPER_GATHER_MS.
 * Limits     KEEPER_WAITING_BYTES wait at the most; a file is at the most a sixteenth of bytes_max; what is older than
 *            keep_ms goes by whole hours, and the oldest files go when all are more than bytes_max.
 * Errors     A line cut short (a kill, a full disk) gets its end before the next begins: readers pass over it.
 * Threads    keeper_wants() and keeper_add() from any; the others from the one that started it.
 */
#ifndef RECORD_KEEPER_H
#define RECORD_KEEPER_H

#include "base/clock.h"
#include "base/str.h"

enum { KEEPER_WAITING_BYTES = 4 * 1024 * 1024, KEEPER_GATHER_MS = 50 };

struct keeper_settings {
    int64_t keep_ms;    /* 0: nothing is kept, and what there is goes */
    uint64_t bytes_max; /* of all files */
};

struct keeper;

/* The folder is made when it is needed; its parent must be there. */
struct keeper *keeper_start(const char *folder, const struct keeper_settings *settings,
                            const struct clock *clock);
void keeper_change(struct keeper *keeper, const struct keeper_settings *settings);
void keeper_stop(
    struct keeper **keeper); /* what was added before is written, unless the disk hangs; NULL is fine */

bool keeper_wants(
    const struct keeper *keeper); /* false: whoever has a record need not make it. NULL: false */
void keeper_add(struct keeper *keeper, struct str line); /* copied; without a newline */

#endif
