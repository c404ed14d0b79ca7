/*
 * record/files.h - the files that records are kept in
 *
 * One a part of an hour (UTC): 2026-11-29T08.000.jsonl, .001 when the first has grown enough, and so on. Their names
 * sort as their records came. Each line is a record: one JSON object.
 */
#ifndef RECORD_FILES_H
#define RECORD_FILES_H

#include "base/fail.h"
#include "base/str.h"

enum { RECORD_FILE_NAME_MAX = 32, RECORD_HOUR_S = 3600, RECORD_PARTS_MAX = 1000 };

/* part: 0 to RECORD_PARTS_MAX - 1. */
void record_file_name(int64_t now_unix, unsigned part, char out[RECORD_FILE_NAME_MAX]);

/* When its hour began. False: not one of ours. */
bool record_file_parse(const char *name, int64_t *hour_unix_out, unsigned *part_out);

/* Ours in the folder, oldest first. A folder that is not there is an empty one; -1: it cannot be read. */
struct record_files {
    const char **names;
    size_t count;
};
int record_files_list(struct arena *mem, const char *folder, struct record_files *files_out,
                      struct fail *fail);

/* Where the records of a store are whose file of this host has that path: beside it. */
const char *record_folder(struct arena *mem, const char *store_file);

#endif
