#include "record/files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void record_file_name(int64_t now_unix, unsigned part, char out[RECORD_FILE_NAME_MAX])
{
    time_t now = (time_t)now_unix;
    struct tm tm;
    size_t n;

    gmtime_r(&now, &tm);
    n = strftime(out, RECORD_FILE_NAME_MAX, "%Y-%m-%dT%H", &tm);
    snprintf(out + n, RECORD_FILE_NAME_MAX - n, ".%03u.jsonl", part % RECORD_PARTS_MAX);
}

bool record_file_parse(const char *name, int64_t *hour_unix_out, unsigned *part_out)
{
    char again[RECORD_FILE_NAME_MAX];
    struct tm tm = {0};
    int end = 0;

    if (sscanf(name, "%4d-%2d-%2dT%2d.%3u.jsonl%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, part_out,
               &end) != 5 ||
        end == 0)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    *hour_unix_out = timegm(&tm);
    record_file_name(*hour_unix_out, *part_out, again);
    return strcmp(name, again) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_name(struct arena *mem, struct record_files *files, size_t *room, const char *name)
{
    if (files->count == *room) {
        const char **more = ARENA_ARRAY(mem, const char *, *room * 2 + 64);

        if (files->count > 0)
            memcpy(more, files->names, files->count * sizeof(*more));
        files->names = more;
        *room = *room * 2 + 64;
    }
    files->names[files->count++] = str_dup(mem, str_of(name));
}

int record_files_list(struct arena *mem, const char *folder, struct record_files *files_out,
                      struct fail *fail)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    size_t room = 0;
    int64_t hour;
    unsigned part;

    *files_out = (struct record_files){0};
    if (dir == NULL)
        return errno == ENOENT ? 0 : fail_errno(fail, "%s cannot be read", folder);
    while ((entry = readdir(dir)) != NULL)
        if (record_file_parse(entry->d_name, &hour, &part))
            add_name(mem, files_out, &room, entry->d_name);
    closedir(dir);
    if (files_out->count > 0)
        qsort(files_out->names, files_out->count, sizeof(*files_out->names), by_name);
    return 0;
}

const char *record_folder(struct arena *mem, const char *store_file)
{
    const char *slash = strrchr(store_file, '/');

    return slash == NULL ? "history" : str_fmt(mem, "%.*s/history", (int)(slash - store_file), store_file);
}
