/*
 * store/reunion.h - what was changed locally while the shared engine was away, merged into the shared rows
 *
 * In rounds of AWAY_ROWS_MAX rows: the local engine lists what it has noted, the shared one merges each row by
 * its table's store_merge_fn, and the outcomes take the local rows' places (store/away.h).
 *
 * Ownership  Lives inside its owner, who answers `ask` by handing the tokens on, and tells what becomes of them
 *            with reunion_merged(); tokens of a reunion that was given up are only freed.
 * Timing     `done` once for each reunion_start(), later, when nothing is noted any more (or the file has no
 *            answer); never after reunion_give_up().
 */
#ifndef STORE_REUNION_H
#define STORE_REUNION_H

#include "store/away.h"
#include "store/local.h"

struct reunion {
    struct local *local;
    struct loop *loop;
    const struct store_table *(*table_of)(const char *name, void *arg);
    void (*ask)(struct store_token *token, void *arg); /* token->merges */
    void (*done)(void *arg);
    void *arg;

    struct away_rows *rows; /* the rest is the reunion's; NULL: it rests */
    size_t left;
};

void reunion_start(struct reunion *reunion); /* when it rests */
void reunion_merged(struct reunion *reunion, size_t count);
void reunion_give_up(struct reunion *reunion); /* fine at rest */

/* Hands a job to the local engine; `done` on the loop has the rows. */
void reunion_take_job(struct local *local, struct loop *loop, store_job_fn *job, struct away_rows *rows,
                      store_done_fn *done);

#endif
