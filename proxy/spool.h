/*
 * proxy/spool.h - the body of one message, in memory and, when it is large, in an unlinked file
 *
 * Ownership  The session owns the spool; spool_free() may be called at any time, also while the disk works:
 *            the memory goes when the disk is done.
 * Limits     Up to `memory_max` octets are kept in memory. A message that outgrows it goes to the file as a
 *            whole, written by the loop's helper threads (no disk access on the loop), and its memory is
 *            freed as that goes on. While more than `memory_max` waits for the disk, spool_is_busy(): the
 *            caller stops reading the client, and goes on at `on_ready`. So no message ever has more memory
 *            than `memory_max` and the piece that went beyond it.
 * Errors     A disk that refuses makes spool_failed() true; the message can then only be deferred (452
 *            4.3.1).
 */
#ifndef PROXY_SPOOL_H
#define PROXY_SPOOL_H

#include "base/loop.h"
#include "base/str.h"

struct spool;

/* on_ready(arg) runs later: after spool_is_busy() it is no longer, or spool_read() has its piece. */
struct spool *spool_new(struct loop *loop, size_t memory_max, const char *dir, loop_fn *on_ready, void *arg);
void spool_free(struct spool **spool); /* NULL is fine; leaves NULL */

void spool_add(struct spool *spool, struct str piece); /* copies */
bool spool_is_busy(const struct spool *spool);
bool spool_settles(struct spool *spool); /* false: the disk still works, and on_ready will tell */
bool spool_failed(const struct spool *spool);
uint64_t spool_bytes(const struct spool *spool);
bool spool_is_in_memory(const struct spool *spool); /* all of it: pieces are good until spool_free() */
bool spool_ends_with_crlf(const struct spool *spool);

enum spool_status { SPOOL_PIECE, SPOOL_WAIT, SPOOL_END, SPOOL_ERROR };

/* Reading, from the start, once: the next piece (at most 64 KiB), good until the next call. SPOOL_WAIT: the
 * file is being read, on_ready will tell. spool_rewind() starts over, for a second try on a fresh connection. */
enum spool_status spool_read(struct spool *spool, struct str *piece_out);
void spool_rewind(struct spool *spool);

#endif
