#include "cli/sink_message.h"

#include "base/bug.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

/* Where in CRLF . CRLF we are. */
enum state { LINE_START, TEXT, CR, DOT, DOT_CR };

struct sink_message {
    enum state state;
    FILE *file;
    size_t bytes;
    bool kept;
    char tmp_path[PATH_BYTES], new_path[PATH_BYTES];
};

int sink_maildir_make(const char *maildir, struct fail *fail)
{
    static const char *const parts[] = {"", "/tmp", "/new", "/cur"};
    char path[PATH_BYTES];

    for (size_t i = 0; i < COUNT(parts); i++) {
        if ((size_t)snprintf(path, sizeof(path), "%s%s", maildir, parts[i]) >= sizeof(path))
            return fail_set(fail, "the path of the maildir is too long");
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return fail_errno(fail, "cannot make the folder %s", path);
    }
    return 0;
}

/* Names sort in the order of arrival, and no two sinks share one. */
static bool name_message(struct sink_message *message, const char *maildir)
{
    static unsigned long count;
    struct timespec now;
    char name[96];
    int tmp_n, new_n;

    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(name, sizeof(name), "%lld.%06ld_%06lu.%ld.sink", (long long)now.tv_sec, now.tv_nsec / 1000,
             ++count, (long)getpid());
    tmp_n = snprintf(message->tmp_path, PATH_BYTES, "%s/tmp/%s", maildir, name);
    new_n = snprintf(message->new_path, PATH_BYTES, "%s/new/%s", maildir, name);
    return tmp_n < PATH_BYTES && new_n < PATH_BYTES;
}

struct sink_message *sink_message_new(const char *maildir, struct str envelope, struct fail *fail)
{
    struct sink_message *message = calloc(1, sizeof(*message));
    int fd = -1;

    if (message == NULL)
        out_of_memory();
    if (name_message(message, maildir))
        fd = open(message->tmp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        fail_errno(fail, "cannot make %s", message->tmp_path);
        free(message);
        return NULL;
    }
    message->file = fdopen(fd, "wb");
    if (message->file == NULL)
        out_of_memory();
    fwrite(envelope.p, 1, envelope.n, message->file);
    return message;
}

/* Errors are kept by the FILE until sink_message_keep() asks. */
static void put(struct sink_message *message, char c)
{
    if (message->bytes++ < SINK_MESSAGE_MAX)
        putc_unlocked(c, message->file);
}

static enum state after(enum state state, char c)
{
    if (c == '\r')
        return CR;
    return state == CR && c == '\n' ? LINE_START : TEXT;
}

/* True: this octet was the last of CRLF.CRLF. */
static bool take(struct sink_message *message, char c)
{
    if (message->state == DOT_CR && c == '\n')
        return true;
    if (message->state == LINE_START && c == '.') {
        message->state = DOT;
        return false;
    }
    if (message->state == DOT && c == '\r') {
        message->state = DOT_CR;
        return false;
    }
    if (message->state == DOT_CR) {
        put(message, '\r');
        message->state = CR;
    }
    put(message, c);
    message->state = after(message->state, c);
    return false;
}

size_t sink_message_add(struct sink_message *message, struct str bytes, bool *ended_out)
{
    *ended_out = false;
    for (size_t i = 0; i < bytes.n; i++)
        if (take(message, bytes.p[i])) {
            *ended_out = true;
            return i + 1;
        }
    return bytes.n;
}

bool sink_message_is_too_big(const struct sink_message *message)
{
    return message->bytes > SINK_MESSAGE_MAX;
}

static int close_file(struct sink_message *message)
{
    bool had_error = ferror(message->file) != 0;
    int result = fclose(message->file);

    message->file = NULL;
    return had_error ? -1 : result;
}

int sink_message_keep(struct sink_message *message, struct fail *fail)
{
    if (close_file(message) != 0)
        return fail_errno(fail, "cannot write %s", message->tmp_path);
    if (rename(message->tmp_path, message->new_path) != 0)
        return fail_errno(fail, "cannot move a message to %s", message->new_path);
    message->kept = true;
    return 0;
}

void sink_message_free(struct sink_message **message)
{
    if (*message == NULL)
        return;
    if ((*message)->file != NULL)
        fclose((*message)->file);
    if (!(*message)->kept)
        unlink((*message)->tmp_path);
    free(*message);
    *message = NULL;
}
