#include "base/handover.h"

#include "base/bug.h"
#include "base/passed.h"
#include "base/stream.h"
#include "tests/t.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * The younger is this program again, started with the sockets: HANDOVER_TEST says what it does then. So what is passed
 * is looked at where it arrives.
 */

struct outcome {
    struct loop *loop;
    struct handover *handover;
    int calls;
    pid_t pid;
    char why[700];
};

static void on_done(pid_t pid, const char *why, void *arg)
{
    struct outcome *outcome = arg;

    outcome->calls++;
    outcome->pid = pid;
    snprintf(outcome->why, sizeof(outcome->why), "%s", why != NULL ? why : "");
    loop_stop(outcome->loop);
}

/* ---- the younger ---- */

/* Until it is alone. The second socket has the second name. */
static int be_ready(const struct passed *passed)
{
    char octet;

    handover_say_ready(passed->handover);
    fcntl(passed->handover, F_SETFL, 0);
    while (read(passed->handover, &octet, 1) > 0)
        continue;
    return strcmp(passed->list[1].name, "b") == 0 ? 7 : 8;
}

static int act(const struct passed *passed, const char *how)
{
    if (strcmp(how, "ends") == 0)
        return 3;
    if (strcmp(how, "dies") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(how, "fails") == 0)
        handover_say_failed(passed->handover, "there is no such user");
    if (strcmp(how, "babbles") == 0)
        (void)!write(passed->handover, "hello\n", 6);
    if (strcmp(how, "hangs") == 0)
        pause();
    return strcmp(how, "is ready") == 0 ? be_ready(passed) : 0;
}

static int be_young(const char *how)
{
    struct passed passed;
    struct fail fail = {""};
    int code =
        passed_read(&passed, &fail) == 0 && passed.handover >= 0 && passed.count == 2 ? act(&passed, how) : 9;

    passed_free(&passed);
    return code;
}

/* ---- the elder ---- */

static void hand_over(struct outcome *outcome, int64_t within_ms)
{
    const char *const names[] = {"a", "b"};
    struct endpoint at = {{4, {127, 0, 0, 1}}, 0};
    struct fail fail = {""};
    int fds[] = {listener_bind(&at, &fail), listener_bind(&at, &fail)};

    outcome->handover = handover_start(outcome->loop, fds, names, 2, within_ms, on_done, outcome, &fail);
    if (outcome->handover == NULL)
        t_fail("%s", fail.text);
    t_same_int(outcome->calls, 0);
    close(fds[0]);
    close(fds[1]);
}

static const struct {
    const char *name, *how;
    int64_t within_ms;
    const char *why; /* "": it is ready */
} rows[] = {
    {"it says that it is ready", "is ready", 20000, ""},
    {"it ends", "ends", 20000, "it ended with 3 before it was ready"},
    {"it dies", "dies", 20000, "it ended by signal 9 before it was ready"},
    {"it says why it cannot", "fails", 20000, "there is no such user"},
    {"it says something else", "babbles", 20000, "it does not say what it should"},
    {"it says nothing", "hangs", 300, "it was not ready in time"},
};

static void test_words(void **state)
{
    (void)state;
    handover_remember();
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct outcome outcome = {.loop = loop_new()};

        t_case(rows[i].name, NULL);
        setenv("HANDOVER_TEST", rows[i].how, 1);
        hand_over(&outcome, rows[i].within_ms);
        loop_run(outcome.loop);
        t_same_int(outcome.calls, 1);
        t_same_z(outcome.why, rows[i].why);
        t_true((outcome.pid > 0) == (*rows[i].why == '\0'));
        handover_end(&outcome.handover);
        t_true(outcome.handover == NULL);
        t_true(outcome.pid == 0 || waitpid(outcome.pid, NULL, 0) == outcome.pid);
        loop_free(&outcome.loop);
        unsetenv("HANDOVER_TEST");
    }
}

static void test_alone(void **state)
{
    struct outcome outcome = {.loop = loop_new()};
    int status;

    (void)state;
    t_case("it learns that it is alone, and has the names of its sockets", NULL);
    setenv("HANDOVER_TEST", "is ready", 1);
    hand_over(&outcome, 20000);
    loop_run(outcome.loop);
    t_same_z(outcome.why, "");
    t_same_int(waitpid(outcome.pid, &status, WNOHANG), 0);
    handover_end(&outcome.handover);
    t_same_int(waitpid(outcome.pid, &status, 0), outcome.pid);
    t_true(WIFEXITED(status));
    t_same_int(WEXITSTATUS(status), 7);
    loop_free(&outcome.loop);
    unsetenv("HANDOVER_TEST");
}

static void on_timer(void *arg)
{
    loop_stop(arg);
}

static void test_called_off(void **state)
{
    struct outcome outcome = {.loop = loop_new()};
    struct timer timer = {0};

    (void)state;
    t_case("called off, never calls back, and the new process is gone", NULL);
    setenv("HANDOVER_TEST", "is ready", 1);
    hand_over(&outcome, 20000);
    handover_end(&outcome.handover);
    t_same_int(waitpid(-1, NULL, WNOHANG), -1); /* there is no child */
    timer_start(&timer, outcome.loop, 50, on_timer, outcome.loop);
    loop_run(outcome.loop);
    t_same_int(outcome.calls, 0);
    loop_free(&outcome.loop);
    unsetenv("HANDOVER_TEST");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words), cmocka_unit_test(test_alone),
                                       cmocka_unit_test(test_called_off)};
    const char *how = getenv("HANDOVER_TEST");

    return how != NULL ? be_young(how) : cmocka_run_group_tests(tests, NULL, NULL);
}
