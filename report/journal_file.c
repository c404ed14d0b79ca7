#include "report/journal_file.h"

#include "base/bug.h"
#include "base/hash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FRAME_BYTES = 12, NAME_BYTES = 32 };

static const char counting[] = ".counting";

/* ---- the folder ---- */

/* Processes that name the same file in two ways shall find the same folder. */
static uint64_t hash_of_path(const char *store_file)
{
    char folder[PATH_MAX], name[PATH_MAX], whole[PATH_MAX], text[2 * PATH_MAX + 2];
    const char *parent;

    snprintf(folder, sizeof(folder), "%s", store_file);
    snprintf(name, sizeof(name), "%s", store_file);
    parent = dirname(folder);
    snprintf(text, sizeof(text), "%s/%s", realpath(parent, whole) != NULL ? whole : parent, basename(name));
    return hash_stable(text, strlen(text), 0);
}

/* Anybody may make a folder there. Root's verbs work beside a daemon that is not root; its user has the store. */
static bool is_of_ours(uid_t owner, const char *store_file)
{
    struct stat st;

    return owner == geteuid() || (geteuid() == 0 && stat(store_file, &st) == 0 && owner == st.st_uid);
}

static bool is_safe(int fd, const char *store_file, struct fail *fail)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && is_of_ours(st.st_uid, store_file) &&
        (st.st_mode & (S_IWGRP | S_IWOTH)) == 0)
        return true;
    fail_set(fail, "it is somebody else's");
    return false;
}

int journal_folder_open(struct journal_folder *folder, const char *store_file, bool make, struct fail *fail)
{
    struct fail why;

    *folder = (struct journal_folder){.fd = -1};
    snprintf(folder->path, sizeof(folder->path), "/dev/shm/smtpguard.%016" PRIx64, hash_of_path(store_file));
    if (make && mkdir(folder->path, 0700) != 0 && errno != EEXIST)
        return fail_errno(fail, "%s", folder->path);
    folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder->fd < 0)
        return errno == ENOENT && !make ? 0 : fail_errno(fail, "%s", folder->path);
    if (is_safe(folder->fd, store_file, &why))
        return 0;
    close(folder->fd);
    folder->fd = -1;
    return fail_set(fail, "%s: %s", folder->path, why.text);
}

bool journal_folder_is_there(const struct journal_folder *folder)
{
    struct stat st;

    return folder->fd >= 0 && fstat(folder->fd, &st) == 0 && st.st_nlink > 0;
}

/* The folder may have gone with the process that had claimed it. */
bool journal_folder_claim(struct journal_folder *folder)
{
    if (folder->ours || folder->fd < 0 || flock(folder->fd, LOCK_EX | LOCK_NB) != 0)
        return folder->ours;
    folder->ours = journal_folder_is_there(folder);
    if (!folder->ours)
        journal_folder_close(folder);
    return folder->ours;
}

void journal_folder_release(struct journal_folder *folder)
{
    if (folder->ours)
        (void)flock(folder->fd, LOCK_UN);
    folder->ours = false;
}

void journal_folder_close(struct journal_folder *folder)
{
    if (folder->fd < 0)
        return;
    if (folder->ours)
        (void)rmdir(folder->path);
    close(folder->fd);
    folder->fd = -1;
    folder->ours = false;
}

/* ---- names ---- */

static void name_of(uint64_t mark, bool is_counting, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%014" PRIx64 "%s", mark, is_counting ? counting : "");
}

static bool read_name(const char *name, uint64_t *mark_out, bool *counting_out)
{
    char *end;

    *mark_out = strtoull(name, &end, 16);
    *counting_out = strcmp(end, counting) == 0;
    return end == name + 14 && *mark_out > 0 && (*end == '\0' || *counting_out);
}

/* ---- a page's file ---- */

int journal_file_new(struct journal_file *file, const struct journal_folder *folder, uint64_t mark,
                     struct fail *fail)
{
    char name[NAME_BYTES];

    *file = (struct journal_file){-1, mark, 0};
    if (folder->fd < 0)
        return fail_set(fail, "there is no %s", folder->path);
    name_of(mark, false, name);
    file->fd = openat(folder->fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file->fd < 0)
        return fail_errno(fail, "%s/%s", folder->path, name);
    if (flock(file->fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    fail_errno(fail, "%s/%s", folder->path, name);
    close(file->fd);
    file->fd = -1;
    return -1;
}

static void put_frame(unsigned char frame[FRAME_BYTES], struct str record)
{
    uint32_t n = (uint32_t)record.n;
    uint64_t hash = hash_stable(record.p, record.n, 0);

    memcpy(frame, &n, 4);
    memcpy(frame + 4, &hash, 8);
}

/* One write, so that it is there or not. */
int journal_file_add(struct journal_file *file, struct str record, struct fail *fail)
{
    unsigned char frame[FRAME_BYTES];
    size_t n = FRAME_BYTES + record.n;

    if (record.n > JOURNAL_RECORD_MAX)
        bug("a journal's record of %zu octets", record.n);
    if (file->fd < 0)
        return fail_set(fail, "the journal has no file");
    if (file->bytes + n > JOURNAL_FILE_MAX)
        return fail_set(fail, "the journal's file has its %d octets", JOURNAL_FILE_MAX);
    put_frame(frame, record);
    if (pwritev(file->fd, (struct iovec[]){{frame, FRAME_BYTES}, {(void *)record.p, record.n}}, 2,
                (off_t)file->bytes) != (ssize_t)n) {
        fail_errno(fail, "the journal's file takes no more");
        (void)!ftruncate(file->fd, (off_t)file->bytes);
        return -1;
    }
    file->bytes += n;
    return 0;
}

void journal_file_counting(const struct journal_file *file, const struct journal_folder *folder)
{
    char from[NAME_BYTES], to[NAME_BYTES];

    name_of(file->mark, false, from);
    name_of(file->mark, true, to);
    if (file->fd >= 0)
        (void)renameat(folder->fd, from, folder->fd, to); /* fails when it has that name from before */
}

void journal_file_end(struct journal_file *file, const struct journal_folder *folder)
{
    char name[NAME_BYTES];

    if (file->fd < 0)
        return;
    for (int is_counting = 0; is_counting < 2; is_counting++) {
        name_of(file->mark, is_counting, name);
        (void)unlinkat(folder->fd, name, 0);
    }
    close(file->fd);
    file->fd = -1;
}

void journal_file_close(struct journal_file *file, const struct journal_folder *folder)
{
    if (file->bytes == 0) {
        journal_file_end(file, folder);
        return;
    }
    close(file->fd);
    file->fd = -1;
}

/* ---- what others left ---- */

static DIR *list(const struct journal_folder *folder)
{
    int fd = folder->fd >= 0 ? openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (dir == NULL && fd >= 0)
        close(fd);
    return dir;
}

static bool take_named(struct journal_file *file, const struct journal_folder *folder, const char *name)
{
    struct stat st;

    file->fd = openat(folder->fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (file->fd < 0)
        return false;
    if (flock(file->fd, LOCK_EX | LOCK_NB) == 0 && fstat(file->fd, &st) == 0 && S_ISREG(st.st_mode) &&
        st.st_nlink > 0) {
        file->bytes = (uint64_t)st.st_size;
        return true;
    }
    close(file->fd);
    file->fd = -1;
    return false;
}

static bool take_of_kind(struct journal_file *file, const struct journal_folder *folder, bool wants_counting)
{
    DIR *dir = list(folder);
    bool taken = false, is_counting;

    for (struct dirent *entry; dir != NULL && !taken && (entry = readdir(dir)) != NULL;)
        taken = read_name(entry->d_name, &file->mark, &is_counting) && is_counting == wants_counting &&
                take_named(file, folder, entry->d_name);
    if (dir != NULL)
        closedir(dir);
    return taken;
}

bool journal_file_take(struct journal_file *file, const struct journal_folder *folder)
{
    *file = (struct journal_file){.fd = -1};
    return take_of_kind(file, folder, true) || take_of_kind(file, folder, false);
}

size_t journal_file_list(const struct journal_folder *folder, uint64_t *marks_out, size_t most)
{
    DIR *dir = list(folder);
    size_t count = 0;
    bool is_counting;

    for (struct dirent *entry; dir != NULL && count < most && (entry = readdir(dir)) != NULL;)
        count += read_name(entry->d_name, &marks_out[count], &is_counting);
    if (dir != NULL)
        closedir(dir);
    return count;
}

/* ---- reading ---- */

static bool take_record(struct str *rest, struct str *record_out)
{
    unsigned char frame[FRAME_BYTES];
    uint32_t n;

    if (rest->n < FRAME_BYTES)
        return false;
    memcpy(&n, rest->p, 4);
    if (n > JOURNAL_RECORD_MAX || n > rest->n - FRAME_BYTES)
        return false;
    *record_out = str_make(rest->p + FRAME_BYTES, n);
    put_frame(frame, *record_out);
    if (memcmp(frame, rest->p, FRAME_BYTES) != 0)
        return false;
    *rest = str_from(*rest, FRAME_BYTES + n);
    return true;
}

uint64_t journal_file_read(const struct journal_file *file, journal_record_fn *each, void *arg)
{
    size_t most = file->bytes < JOURNAL_FILE_MAX ? (size_t)file->bytes : JOURNAL_FILE_MAX;
    char *bytes = malloc(most + 1);
    struct str rest, record;
    ssize_t n;

    if (bytes == NULL)
        out_of_memory();
    n = pread(file->fd, bytes, most, 0);
    rest = str_make(bytes, n > 0 ? (size_t)n : 0);
    while (rest.n > 0) {
        struct str before = rest;

        if (!take_record(&rest, &record) || !each(record, arg)) {
            rest = before;
            break;
        }
    }
    free(bytes);
    return file->bytes - ((size_t)(n > 0 ? n : 0) - rest.n);
}
