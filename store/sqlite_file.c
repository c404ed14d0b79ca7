#include "store/sqlite.h"

#include "store/sqlite_in.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is done with the file as a whole, beside the connection that the store owns. */

enum { BACKUP_BUSY_MS = 5000 };

/* ---- making ---- */

/* A verb that root runs before the daemon's first start must not leave it a file that it cannot open: whose the
 * folder is, his is the file. */
static void give_to_owner_of_folder(int fd, const char *path)
{
    char copy[PATH_MAX];
    struct stat folder;

    if (geteuid() != 0 || snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy) ||
        stat(dirname(copy), &folder) != 0)
        return;
    if (fchown(fd, folder.st_uid, folder.st_gid) != 0)
        return; /* a file system without owners: then everybody may */
}

/* Made by us, so that it is not readable for everybody; SQLite gives its companion files the same mode and owner.
 * Only a file that is not there: closing a second descriptor of one that is would drop this process's locks on it. */
void sqlite_create_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

    if (fd < 0)
        return;
    give_to_owner_of_folder(fd, path);
    close(fd);
}

/* ---- reading ---- */

static int walk(sqlite3_stmt *st, struct str prefix, store_each_fn *each, void *arg)
{
    int code;

    while ((code = sqlite3_step(st)) == SQLITE_ROW) {
        struct str key = {sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0)};
        struct str value = {sqlite3_column_blob(st, 1), (size_t)sqlite3_column_bytes(st, 1)};

        if (!str_starts(key, prefix) || !each(key, value, sqlite3_column_int64(st, 2), arg))
            return SQLITE_DONE;
    }
    return code;
}

/* Who looks through the heap looks at each row, so that no more than those with the prefix are sorted. */
static const char from_rows[] = "SELECT key, value, expires FROM rows WHERE tbl = ?1 AND key >= ?2"
                                " AND (expires = 0 OR expires > ?3) ORDER BY key";
static const char from_heap[] = "SELECT key, value, expires FROM heap WHERE tbl = ?1"
                                " AND substr(key, 1, length(?2)) = ?2"
                                " AND (expires = 0 OR expires > ?3) ORDER BY key";

int sqlite_each(const struct sqlite_settings *settings, const char *table, struct str prefix,
                int64_t now_unix, store_each_fn *each, void *arg, struct fail *fail)
{
    const struct store_table *known = sqlite_table(settings, table);
    const char *sql = known != NULL && known->heaped ? from_heap : from_rows;
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int code = sqlite3_open_v2(settings->path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_busy_timeout(db, settings->busy_ms);
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (code == SQLITE_OK) {
        sqlite3_bind_text(st, 1, table, -1, SQLITE_STATIC);
        sqlite_bind_bytes(st, 2, prefix);
        sqlite3_bind_int64(st, 3, now_unix);
        code = walk(st, prefix, each, arg);
    }
    if (sqlite_outcome_of(code) != SQLITE_WORKED)
        fail_set(fail, "cannot read %s: %s", settings->path, sqlite3_errmsg(db));
    sqlite3_finalize(st);
    sqlite3_close(db);
    return sqlite_outcome_of(code) == SQLITE_WORKED ? 0 : -1;
}

/* ---- copying ---- */

/* All pages in one step, under one read lock: with a write-ahead log nobody waits for that, and nothing that is
 * written meanwhile makes the copy begin anew. */
static int copy_pages(sqlite3 *from, sqlite3 *to)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    int code;

    if (backup == NULL)
        return sqlite3_errcode(to);
    code = sqlite3_backup_step(backup, -1);
    sqlite3_backup_finish(backup);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

int sqlite_backup(const char *path, const char *to_path, struct fail *fail)
{
    sqlite3 *from = NULL, *to = NULL;
    int code = sqlite3_open_v2(path, &from, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_busy_timeout(from, BACKUP_BUSY_MS);
    if (code == SQLITE_OK) {
        sqlite_create_file(to_path);
        code = sqlite3_open_v2(to_path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    }
    if (code == SQLITE_OK)
        code = copy_pages(from, to);
    if (code != SQLITE_OK)
        fail_set(fail, "cannot copy %s to %s: %s", path, to_path, sqlite3_errstr(code));
    if (to != NULL && code != SQLITE_OK)
        unlink(to_path);
    sqlite3_close(to);
    sqlite3_close(from);
    return code == SQLITE_OK ? 0 : -1;
}

/* ---- setting aside ---- */

static int rename_with(const char *path, const char *ending, int64_t now_unix, struct fail *fail)
{
    char from[PATH_MAX], to[PATH_MAX];

    if (snprintf(from, sizeof(from), "%s%s", path, ending) >= (int)sizeof(from) ||
        snprintf(to, sizeof(to), "%s.corrupt-%" PRId64 "%s", path, now_unix, ending) >= (int)sizeof(to))
        return fail_set(fail, "the path %s is too long", path);
    return rename(from, to) == 0 || (*ending != '\0' && errno == ENOENT)
               ? 0
               : fail_errno(fail, "cannot rename %s to %s", from, to);
}

/* The file goes first: SQLite drops a write-ahead log that is left without its file. The index of the log
 * (-shm) is only locks and is rebuilt, but must not be shared between the old file and the new. */
int sqlite_set_aside(const char *path, int64_t now_unix, struct fail *fail)
{
    if (rename_with(path, "", now_unix, fail) != 0)
        return -1;
    if (rename_with(path, "-wal", now_unix, fail) != 0)
        return -1;
    return rename_with(path, "-shm", now_unix, fail);
}
