/*
 * store/checkpoint.h - what the SQLite file's log has, brought into the file by a thread of its own
 *
 * What is committed lies in the write-ahead log; when that has grown to log_bytes it is brought into the file (a
 * checkpoint), so that it may begin anew. That takes syncs of the disk, so a second connection does it while the store
 * goes on writing; then it brings in what was written meanwhile, and so on, until only a few pages are left. A
 * log that is written all the time never is in the file to its last page, so those few the store's thread brings
 * in itself, between two transactions: some milliseconds once in log_bytes.
 *
 * Limits     The log exceeds log_bytes by what is written during a checkpoint; at four times log_bytes the store's
 *            thread waits for the end of it. Only while somebody reads from an old end of the log it grows beyond.
 * Errors     A checkpoint that fails is logged once, and tried again as the log grows; nothing is lost, the log has it.
 * Threads    All three are for the thread that owns the store's connection, checkpoint_after_commit() outside of
 *            transactions. checkpoint_stop() waits for the checkpoint under way; call it before that
 *            connection closes, so that it is the last one, and its closing leaves no log behind.
 */
#ifndef STORE_CHECKPOINT_H
#define STORE_CHECKPOINT_H

#include "store/sqlite.h"

struct checkpoint;

/* The file has been opened before. The path is borrowed. */
enum sqlite_outcome checkpoint_start(const char *path, size_t log_bytes, struct checkpoint **checkpoint_out,
                                     struct fail *fail);
void checkpoint_stop(struct checkpoint **checkpoint); /* NULL is fine; leaves NULL */

/* `pages` as sqlite_log_pages() says after the commit. */
void checkpoint_after_commit(struct checkpoint *checkpoint, size_t pages);

#endif
