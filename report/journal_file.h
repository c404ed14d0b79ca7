/*
 * report/journal_file.h - files that outlive the process, but touch no disk; for report/journal.c
 *
 * A journal's folder lies in shared memory (/dev/shm/smtpguard.<hash of the store's path>), so writing to it waits for
 * no disk and a kill leaves it as it is. Each page of the journal is a file in it, named by the page's mark; while a
 * page is being counted, its name ends with ".counting": that one comes first after a crash.
 *
 * Records are framed with their length and a hash. Reading ends at the first that is not whole: a kill within the
 * last write leaves such a one, and nobody was told that it was written.
 *
 * Locks      A page's file is locked by its writer, the folder by the one process that counts pages.
 * Errors     -1 and a fail. A folder that is neither ours nor, when we are root, of the store's owner is not used.
 */
#ifndef REPORT_JOURNAL_FILE_H
#define REPORT_JOURNAL_FILE_H

#include "base/fail.h"
#include "base/str.h"

enum { JOURNAL_FILE_MAX = 16 * 1024 * 1024, JOURNAL_RECORD_MAX = 10 * 1024 };

struct journal_folder {
    char path[64];
    int fd; /* -1: there is none that can be used */
    bool ours; /* we are the one who counts */
};

/* `make`: it is made when it is not there. Without, a folder that is missing is no error: fd is -1. */
int journal_folder_open(struct journal_folder *folder, const char *store_file, bool make, struct fail *fail);
bool journal_folder_is_there(const struct journal_folder *folder); /* nobody has taken it away */
/* True: ours, until it is released or closed. False and fd -1: it has gone; else somebody else has it. */
bool journal_folder_claim(struct journal_folder *folder);
void journal_folder_release(struct journal_folder *folder);
void journal_folder_close(struct journal_folder *folder); /* an empty one goes */

struct journal_file {
    int fd; /* -1: there is none */
    uint64_t mark, bytes;
};

int journal_file_new(struct journal_file *file, const struct journal_folder *folder, uint64_t mark,
                     struct fail *fail);
/* -1: it is full, or there is no memory; then nothing of the record was written. */
int journal_file_add(struct journal_file *file, struct str record, struct fail *fail);
void journal_file_counting(const struct journal_file *file, const struct journal_folder *folder);
void journal_file_end(struct journal_file *file, const struct journal_folder *folder);   /* it is counted: it goes */
void journal_file_close(struct journal_file *file, const struct journal_folder *folder); /* it stays, unless empty */

/* The next page that nobody writes, one that was being counted first. False: there is none. */
bool journal_file_take(struct journal_file *file, const struct journal_folder *folder);
typedef bool journal_record_fn(struct str record, void *arg); /* false: this is none; reading ends */
/* How many octets were not read. */
uint64_t journal_file_read(const struct journal_file *file, journal_record_fn *each, void *arg);

/* The marks of pages that are there, up to `most`. */
size_t journal_file_list(const struct journal_folder *folder, uint64_t *marks_out, size_t most);

#endif
