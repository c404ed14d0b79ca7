#include "cli/greylist.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * postgrey's Berkeley DB, read by Berkeley DB's own programs from a copy: db_recover plays the transaction log into it,
 * as for a backup that was made while postgrey ran, and db_dump prints it. postgrey's own files are only read.
 */

extern char **environ;

enum { ROW_MAX = 4096, COPY_BYTES = 64 * 1024 };

/* The files first, then their log: a change that is in neither the one nor the other came later. */
static const char *const patterns[] = {"postgrey.db", "postgrey_clients.db", "log.*"};

struct copy {
    char folder[PATH_MAX];
};

/* ---- copying ---- */

static int copy_octets(int from, int to, const char *path, struct fail *fail)
{
    static char octets[COPY_BYTES];
    ssize_t n;

    while ((n = read(from, octets, sizeof(octets))) > 0)
        if (write(to, octets, (size_t)n) != n)
            return fail_errno(fail, "cannot copy %s", path);
    return n == 0 ? 0 : fail_errno(fail, "cannot read %s", path);
}

static int copy_file(const char *path, const struct copy *copy, struct fail *fail)
{
    const char *name = strrchr(path, '/') + 1;
    char target[PATH_MAX + NAME_MAX];
    int from = open(path, O_RDONLY | O_CLOEXEC), to, outcome;

    if (from < 0)
        return fail_errno(fail, "cannot open %s", path);
    snprintf(target, sizeof(target), "%s/%s", copy->folder, name);
    to = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    outcome = to < 0 ? fail_errno(fail, "cannot make %s", target) : copy_octets(from, to, path, fail);
    close(from);
    if (to >= 0)
        close(to);
    return outcome;
}

static int copy_like(const char *folder, const char *pattern, const struct copy *copy, struct fail *fail)
{
    char path[PATH_MAX];
    glob_t found;
    int outcome = 0;

    if (snprintf(path, sizeof(path), "%s/%s", folder, pattern) >= (int)sizeof(path))
        return fail_set(fail, "the path %s is too long", folder);
    if (glob(path, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc && outcome == 0; i++)
            outcome = copy_file(found.gl_pathv[i], copy, fail);
    globfree(&found);
    return outcome;
}

static int copy_all(const char *folder, struct copy *copy, struct fail *fail)
{
    const char *temporary = getenv("TMPDIR");
    char first[PATH_MAX];
    int outcome = 0;

    *copy = (struct copy){0};
    if (snprintf(first, sizeof(first), "%s/%s", folder, patterns[0]) >= (int)sizeof(first) ||
        access(first, R_OK) != 0)
        return fail_errno(fail, "cannot read %s/%s", folder, patterns[0]);
    snprintf(copy->folder, sizeof(copy->folder), "%.1000s/smtpguard-postgrey-XXXXXX",
             temporary != NULL && *temporary != '\0' ? temporary : "/tmp");
    if (mkdtemp(copy->folder) == NULL) {
        copy->folder[0] = '\0';
        return fail_errno(fail, "cannot make a folder for a copy of %s", folder);
    }
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]) && outcome == 0; i++)
        outcome = copy_like(folder, patterns[i], copy, fail);
    return outcome;
}

static void remove_copy(const struct copy *copy)
{
    char pattern[PATH_MAX + 2];
    glob_t found;

    if (copy->folder[0] == '\0')
        return;
    snprintf(pattern, sizeof(pattern), "%s/*", copy->folder);
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            unlink(found.gl_pathv[i]);
    globfree(&found);
    rmdir(copy->folder);
}

/* ---- Berkeley DB's programs ---- */

/* Its standard output goes to `out`, or nowhere (-1). Debian's names come with and without the version. */
static int start_program(const char *const names[2], const char *const argv[], int out, pid_t *pid_out,
                         struct fail *fail)
{
    posix_spawn_file_actions_t actions;
    int error = ENOENT;

    posix_spawn_file_actions_init(&actions);
    if (out >= 0)
        posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    else
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    for (int i = 0; i < 2 && error == ENOENT; i++)
        error = posix_spawnp(pid_out, names[i], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error == 0)
        return 0;
    return fail_set(fail, "cannot start %s: %s (Debian has it in db-util)", names[0], strerror(error));
}

static int await_program(const char *name, pid_t pid, struct fail *fail)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return fail_errno(fail, "cannot wait for %s", name);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : fail_set(fail, "%s could not read the database", name);
}

static int recover(const struct copy *copy, struct fail *fail)
{
    const char *const names[2] = {"db_recover", "db5.3_recover"};
    const char *const argv[] = {"db_recover", "-c", "-h", copy->folder, NULL};
    pid_t pid;

    if (start_program(names, argv, -1, &pid, fail) != 0)
        return -1;
    return await_program(names[0], pid, fail);
}

/* ---- what db_dump prints ---- */

/* Behind the header key and value take turns, each on a line of hexadecimal digits behind a blank, up to DATA=END. */
static int read_dump(FILE *dump, bool is_client, cli_postgrey_row_fn *each, void *arg, struct fail *fail)
{
    static char line[2 * ROW_MAX + 4], key[ROW_MAX], value[ROW_MAX];
    struct cli_postgrey_row row = {.is_client = is_client};
    bool has_key = false, more = true;

    while (fgets(line, sizeof(line), dump) != NULL) {
        struct str text = str_trim(str_of(line));

        if (str_eq_z(text, "DATA=END"))
            return has_key ? fail_set(fail, "db_dump printed a key without a value") : 0;
        if (line[0] != ' ')
            continue;
        if (!str_unhex(text, has_key ? value : key, ROW_MAX, has_key ? &row.value : &row.key))
            return fail_set(fail, "db_dump printed a line that is not understood");
        if (has_key && more)
            more = each(&row, arg); /* enough: the rest is read, so that db_dump ends well */
        has_key = !has_key;
    }
    return fail_set(fail, "db_dump ended too early");
}

static int dump_file(const struct copy *copy, const char *name, bool is_client, cli_postgrey_row_fn *each,
                     void *arg, struct fail *fail)
{
    const char *const names[2] = {"db_dump", "db5.3_dump"};
    char path[PATH_MAX + NAME_MAX];
    const char *const argv[] = {"db_dump", path, NULL};
    int ends[2], outcome;
    FILE *dump;
    pid_t pid;

    snprintf(path, sizeof(path), "%s/%s", copy->folder, name);
    if (access(path, R_OK) != 0 && is_client)
        return 0; /* postgrey --auto-whitelist-clients=0 */
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail_errno(fail, "cannot make a pipe");
    outcome = start_program(names, argv, ends[1], &pid, fail);
    close(ends[1]);
    if (outcome != 0 || (dump = fdopen(ends[0], "r")) == NULL) {
        close(ends[0]);
        return outcome != 0 ? outcome : fail_errno(fail, "cannot read what db_dump prints");
    }
    outcome = read_dump(dump, is_client, each, arg, fail);
    fclose(dump);
    return await_program(names[0], pid, outcome == 0 ? fail : &(struct fail){0}) != 0 ? -1 : outcome;
}

int cli_postgrey_read(const char *folder, cli_postgrey_row_fn *each, void *arg, struct fail *fail)
{
    struct copy copy;
    int outcome = copy_all(folder, &copy, fail);

    if (outcome == 0)
        outcome = recover(&copy, fail);
    if (outcome == 0)
        outcome = dump_file(&copy, patterns[0], false, each, arg, fail);
    if (outcome == 0)
        outcome = dump_file(&copy, patterns[1], true, each, arg, fail);
    remove_copy(&copy);
    return outcome;
}
