/*
 * store/away.h - the local file as the shared engine's copy, and what changed in it meanwhile
 *
 * While the shared engine is away the local file answers, and each row that it changes is noted in the table
 * "away". When the engine is back, the rows that are noted are merged into the shared ones (store_merge_fn),
 * and the outcome takes the local row's place: unless that has changed again, and then it stays noted.
 *
 * Jobs run on the local engine's thread; their token's `arg` is the struct away_rows.
 */
#ifndef STORE_AWAY_H
#define STORE_AWAY_H

#include "store/store_in.h"

enum { AWAY_ROWS_MAX = 256, AWAY_NOTE_S = 14 * 24 * 3600 };

struct away_row {
    const char *table;
    struct str key;
    struct store_row ours;   /* as it lay in the file */
    struct store_row theirs; /* as it is shared now */
};

struct away_rows {
    struct arena *mem; /* this struct's, too */
    void *owner;       /* whoever started the job */
    bool in_job;       /* the local engine's until it answers */
    size_t count;
    struct away_row rows[AWAY_ROWS_MAX];
};

struct away_rows *away_rows_new(void);
void away_rows_free(struct away_rows **rows); /* leaves NULL */
void away_rows_add(struct away_rows *rows, const char *table, struct str key, const struct store_row *theirs);
void away_rows_append(struct away_rows *rows, struct away_rows **more); /* frees `more` */

enum sqlite_outcome away_note(struct sqlite *db, struct arena *mem, const char *table, struct str key,
                              int64_t now_unix, struct fail *fail);

/* Fills in rows that are noted, with `ours`; AWAY_ROWS_MAX: there may be more. */
store_job_fn away_job_list;
/* Puts `theirs` in the file, where nothing is noted. */
store_job_fn away_job_mirror;
/* Puts `theirs` where the file still has `ours`, and strikes out the note. */
store_job_fn away_job_settle;

#endif
