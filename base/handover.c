#include "base/handover.h"

#include "base/buf.h"
#include "base/bug.h"
#include "base/passed.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    FIRST = 3,
    WORD_MAX = 600,
    ARGUMENTS_MAX = 64 * 1024,
    PID_DIGITS = 20,
    ENDING_LOOKS = 100,
    ENDING_MS = 20,
    KILL_MS = 500
};

static const char ready[] = "ready", failed[] = "failed ";

struct handover {
    struct loop *loop;
    pid_t pid;
    int fd;
    struct watch *watch;
    struct timer deadline;
    struct buf word;
    bool is_ready;
    int looks; /* at whether it has ended */
    handover_done_fn *done;
    void *arg;
};

/* ---- what is started ---- */

static struct {
    char program[4096];
    char *arguments; /* each ended by a NUL */
    size_t arguments_bytes;
} own;

void handover_remember(void)
{
    ssize_t n = readlink("/proc/self/exe", own.program, sizeof(own.program) - 1);
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);

    own.program[n > 0 ? n : 0] = '\0';
    free(own.arguments);
    own.arguments = calloc(1, ARGUMENTS_MAX + 1);
    if (own.arguments == NULL)
        out_of_memory();
    n = fd >= 0 ? read(fd, own.arguments, ARGUMENTS_MAX) : 0;
    own.arguments_bytes = n > 0 ? (size_t)n : 0;
    if (fd >= 0)
        close(fd);
}

static char **split_arguments(void)
{
    size_t count = 0, i = 0;
    char **argv;

    for (size_t at = 0; at < own.arguments_bytes; at++)
        count += own.arguments[at] == '\0';
    argv = calloc(count + 1, sizeof(*argv));
    if (argv == NULL)
        out_of_memory();
    for (char *p = own.arguments; i < count; p += strlen(p) + 1)
        argv[i++] = p;
    return argv;
}

/* Whatever is the elder's alone is left out. */
static bool is_inherited(const char *variable)
{
    static const char *const others[] = {"LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=", "WATCHDOG_PID="};

    for (size_t i = 0; i < COUNT(others); i++)
        if (strncmp(variable, others[i], strlen(others[i])) == 0)
            return false;
    return true;
}

/* Ours, and what tells of the sockets. The last variable is LISTEN_PID, with room for the number. */
struct environment {
    char **list;
    struct buf names;
    char count[32], pid[sizeof("LISTEN_PID=") + PID_DIGITS];
};

static void make_environment(struct environment *e, const char *const *names, size_t count)
{
    size_t n = 0;

    while (environ[n] != NULL)
        n++;
    e->list = calloc(n + 4, sizeof(*e->list));
    if (e->list == NULL)
        out_of_memory();
    n = 0;
    for (char **from = environ; *from != NULL; from++)
        if (is_inherited(*from))
            e->list[n++] = *from;
    buf_init(&e->names, ARGUMENTS_MAX);
    buf_add_z(&e->names, "LISTEN_FDNAMES=" HANDOVER_NAME);
    for (size_t i = 0; i < count; i++)
        buf_fmt(&e->names, ":%s", names[i]);
    snprintf(e->count, sizeof(e->count), "LISTEN_FDS=%zu", count + 1);
    strcpy(e->pid, "LISTEN_PID=");
    e->list[n++] = (char *)buf_z(&e->names);
    e->list[n++] = e->count;
    e->list[n++] = e->pid;
}

/* ---- starting it ---- */

/* The descriptors out of the way of where the younger has them. */
static int lift(const int *fds, size_t count, int connection, int *lifted, struct fail *fail)
{
    for (size_t i = 0; i <= count; i++) {
        lifted[i] = fcntl(i == 0 ? connection : fds[i - 1], F_DUPFD_CLOEXEC, FIRST + (int)count + 1);
        if (lifted[i] >= 0)
            continue;
        while (i > 0)
            close(lifted[--i]);
        return fail_errno(fail, "cannot duplicate a socket");
    }
    return 0;
}

/* Between fork() and execve() in a process of many threads only this much is safe: no memory, no stdio. */
static void write_pid(char *out)
{
    char digits[PID_DIGITS];
    size_t n = 0;

    for (pid_t pid = getpid(); pid > 0; pid /= 10)
        digits[n++] = (char)('0' + pid % 10);
    while (n > 0)
        *out++ = digits[--n];
    *out = '\0';
}

static _Noreturn void become_the_younger(const int *lifted, size_t count, char **argv, struct environment *e)
{
    static const char words[] = "failed the program cannot be run\n";
    static const int handled[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR2};
    sigset_t none;

    for (size_t i = 0; i < COUNT(handled); i++)
        signal(handled[i], SIG_DFL);
    for (size_t i = 0; i <= count; i++)
        if (dup2(lifted[i], FIRST + (int)i) < 0)
            _exit(1);
    close_range(FIRST + (unsigned)count + 1, ~0U, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    write_pid(e->pid + strlen("LISTEN_PID="));
    execve(own.program, argv, e->list);
    (void)!write(FIRST, words, sizeof(words) - 1);
    _exit(1);
}

static pid_t start_program(const int *fds, const char *const *names, size_t count, int connection,
                           struct fail *fail)
{
    int *lifted = calloc(count + 1, sizeof(*lifted));
    struct environment environment;
    sigset_t all, before;
    char **argv;
    pid_t pid;

    if (lifted == NULL)
        out_of_memory();
    if (lift(fds, count, connection, lifted, fail) != 0) {
        free(lifted);
        return -1;
    }
    argv = split_arguments();
    make_environment(&environment, names, count);
    sigfillset(&all); /* a handler of ours that runs in the new process would tell this one */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid == 0)
        become_the_younger(lifted, count, argv, &environment);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        fail_errno(fail, "cannot start a process");
    for (size_t i = 0; i <= count; i++)
        close(lifted[i]);
    buf_fini(&environment.names);
    free(environment.list);
    free(argv);
    free(lifted);
    return pid;
}

/* ---- waiting for its word ---- */

static void let_go(struct handover *h)
{
    watch_stop(&h->watch);
    timer_stop(&h->deadline);
    if (h->fd >= 0)
        close(h->fd);
    h->fd = -1;
}

/* How the process has ended. One that has not is killed, and gone a moment later; if a disk holds it, it is not waited
 * for. */
static int end_of(struct handover *h)
{
    int status = 0;

    if (h->pid > 0 && !h->is_ready && waitpid(h->pid, &status, WNOHANG) == 0) {
        kill(h->pid, SIGKILL);
        for (int i = 0; i < KILL_MS && waitpid(h->pid, &status, WNOHANG) == 0; i++)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    h->pid = 0;
    return status;
}

/* What it said has a line for us; without one its end says something. */
static void fail_with(struct handover *h, const char *silence)
{
    struct str word, rest;
    char why[WORD_MAX + 64];
    bool said = str_cut(buf_str(&h->word), '\n', &word, &rest) && str_starts(word, STR("failed "));
    int status;

    let_go(h);
    status = end_of(h);
    if (said)
        snprintf(why, sizeof(why), "%.*s", STR_ARG(str_from(word, sizeof(failed) - 1)));
    else if (silence != NULL)
        snprintf(why, sizeof(why), "%s", silence);
    else if (WIFEXITED(status))
        snprintf(why, sizeof(why), "it ended with %d before it was ready", WEXITSTATUS(status));
    else
        snprintf(why, sizeof(why), "it ended by signal %d before it was ready", WTERMSIG(status));
    h->done(0, why, h->arg);
}

static void be_done(struct handover *h)
{
    h->is_ready = true;
    watch_stop(&h->watch);
    timer_stop(&h->deadline);
    h->done(h->pid, NULL, h->arg);
}

static void on_deadline(void *arg)
{
    fail_with(arg, "it was not ready in time");
}

/* It has closed the connection without a word, so it is about to end: how, it shall say by itself. */
static void on_ending(void *arg)
{
    struct handover *h = arg;
    siginfo_t end = {0};

    if (h->looks++ < ENDING_LOOKS && waitid(P_PID, (id_t)h->pid, &end, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        end.si_pid == 0)
        timer_start(&h->deadline, h->loop, ENDING_MS, on_ending, h);
    else
        fail_with(h, NULL);
}

static void on_word(unsigned events, void *arg)
{
    struct handover *h = arg;
    char part[WORD_MAX];
    ssize_t n = read(h->fd, part, sizeof(part));
    struct str word, rest;

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        buf_add(&h->word, part, (size_t)n);
    if (n <= 0) {
        watch_stop(&h->watch);
        on_ending(h);
    } else if (h->word.overflow) {
        fail_with(h, "it does not say what it should");
    } else if (str_cut(buf_str(&h->word), '\n', &word, &rest)) {
        if (str_eq_z(word, ready))
            be_done(h);
        else
            fail_with(h, "it does not say what it should");
    }
}

struct handover *handover_start(struct loop *loop, const int *fds, const char *const *names, size_t count,
                                int64_t within_ms, handover_done_fn *done, void *arg, struct fail *fail)
{
    struct handover *h;
    int pair[2];
    pid_t pid;

    if (*own.program == '\0' || access(own.program, X_OK) != 0) {
        fail_errno(fail, "%s cannot be run", *own.program != '\0' ? own.program : "the program");
        return NULL;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        fail_errno(fail, "cannot make a pair of sockets");
        return NULL;
    }
    pid = start_program(fds, names, count, pair[1], fail);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return NULL;
    }
    h = calloc(1, sizeof(*h));
    if (h == NULL)
        out_of_memory();
    *h = (struct handover){.loop = loop, .pid = pid, .fd = pair[0], .done = done, .arg = arg};
    buf_init(&h->word, WORD_MAX);
    h->watch = watch_start(loop, h->fd, WATCH_READ, on_word, h);
    timer_start(&h->deadline, loop, within_ms, on_deadline, h);
    return h;
}

void handover_end(struct handover **handover)
{
    struct handover *h = *handover;

    if (h == NULL)
        return;
    *handover = NULL;
    let_go(h);
    (void)end_of(h);
    buf_fini(&h->word);
    free(h);
}

/* ---- the younger ---- */

static void say(int fd, const char *word, const char *more)
{
    char line[WORD_MAX];
    int n = snprintf(line, sizeof(line), "%s%s", word, more);

    n = n < (int)sizeof(line) - 1 ? n : (int)sizeof(line) - 1;
    line[n] = '\n';
    (void)!send(fd, line, (size_t)n + 1, MSG_NOSIGNAL);
}

void handover_say_ready(int fd)
{
    say(fd, ready, "");
}

void handover_say_failed(int fd, const char *why)
{
    say(fd, failed, why);
}
