#include "base/loop.h"

#include "tests/t.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* What happened, letter by letter. */
static char seen[64];
static struct loop *loop;

static int open_loop(void **state)
{
    (void)state;
    loop = loop_new();
    seen[0] = '\0';
    return 0;
}

static int close_loop(void **state)
{
    (void)state;
    loop_free(&loop);
    return loop != NULL;
}

static void see(void *letter)
{
    size_t n = strlen(seen);

    t_true(n + 1 < sizeof(seen));
    seen[n] = *(const char *)letter;
    seen[n + 1] = '\0';
}

static void see_and_stop(void *letter)
{
    see(letter);
    loop_stop(loop);
}

static char letters[] = "abcdefghijklmnopqrstuvwxyz";
#define A (letters + 0)
#define B (letters + 1)
#define C (letters + 2)
#define D (letters + 3)

/* ---- timers ---- */

static void test_timer_order(void **state)
{
    struct timer a = {0}, b = {0}, c = {0}, d = {0};

    (void)state;
    t_case("timers ring in the order of their times, and never from within timer_start()", NULL);
    timer_start(&d, loop, 6, see_and_stop, D);
    timer_start(&b, loop, 2, see, B);
    timer_start(&c, loop, 4, see, C);
    timer_start(&a, loop, 0, see, A);
    t_same_z(seen, "");
    t_true(timer_is_started(&a) && timer_is_started(&d));
    loop_run(loop);
    t_same_z(seen, "abcd");
    t_true(!timer_is_started(&a) && !timer_is_started(&d));
}

static void test_timer_stop(void **state)
{
    struct timer a = {0}, b = {0}, c = {0};

    (void)state;
    t_case("a stopped timer never rings, a moved one once", NULL);
    timer_stop(&a);
    timer_start(&a, loop, 1, see, A);
    timer_start(&b, loop, 1, see, B);
    timer_start(&c, loop, 5, see_and_stop, C);
    timer_stop(&a);
    timer_stop(&a);
    timer_start(&b, loop, 3, see, D);
    loop_run(loop);
    t_same_z(seen, "dc");
}

static struct timer other;

static void stop_other(void *letter)
{
    see(letter);
    timer_stop(&other);
}

static void test_timer_stops_another(void **state)
{
    struct timer a = {0}, c = {0};

    (void)state;
    t_case("a timer that is due, but stopped by one before it, does not ring", NULL);
    timer_start(&a, loop, 1, stop_other, A);
    timer_start(&other, loop, 2, see, B);
    timer_start(&c, loop, 3, see_and_stop, C);
    usleep(5000); /* all three are due when the loop begins */
    loop_run(loop);
    t_same_z(seen, "ac");
}

static int rounds;

static void start_again(void *arg)
{
    if (++rounds < 1000)
        timer_start(arg, loop, 0, start_again, arg);
}

static void test_timer_starves_nobody(void **state)
{
    struct timer again = {0}, stop = {0};

    (void)state;
    t_case("a timer that starts itself anew lets others run", NULL);
    rounds = 0;
    timer_start(&again, loop, 0, start_again, &again);
    timer_start(&stop, loop, 3, see_and_stop, A);
    loop_run(loop);
    t_same_z(seen, "a");
    t_true(rounds < 1000);
}

static int last_due;
static size_t rung;

struct many {
    struct timer timer;
    int due;
};

static void on_many(void *arg)
{
    const struct many *one = arg;

    t_true(one->due >= last_due);
    last_due = one->due;
    rung++;
}

static void test_many_timers(void **state)
{
    enum { MANY = 2000 };
    struct many *timers = calloc(MANY, sizeof(*timers));
    struct timer end = {0};
    uint32_t seed = 7;
    size_t stopped = 0;

    (void)state;
    t_case("thousands of timers, started and stopped in any order, ring in order", NULL);
    last_due = 0;
    rung = 0;
    for (size_t i = 0; i < MANY; i++) {
        seed = seed * 1664525 + 1013904223;
        timers[i].due = 1 + (int)(seed >> 16) % 20;
        timer_start(&timers[i].timer, loop, timers[i].due, on_many, &timers[i]);
    }
    for (size_t i = 0; i < MANY; i += 3, stopped++)
        timer_stop(&timers[i].timer);
    timer_start(&end, loop, 25, see_and_stop, A);
    loop_run(loop);
    t_same_int(rung, MANY - stopped);
    free(timers);
}

/* ---- the next turn ---- */

static struct later again, first, second, third;

static void start_later_again(void *letter)
{
    see(letter);
    if (strlen(seen) < 3)
        later_start(&again, loop, start_later_again, letter);
    else
        loop_stop(loop);
}

static void test_later(void **state)
{
    (void)state;
    t_case("what is started runs once, on the next turn, in order", NULL);
    later_start(&first, loop, see, A);
    later_start(&second, loop, see, B);
    later_start(&first, loop, see, C);
    later_start(&third, loop, see_and_stop, D);
    later_cancel(&third);
    later_cancel(&third);
    later_start(&third, loop, see_and_stop, C);
    t_same_z(seen, "");
    loop_run(loop);
    t_same_z(seen, "abc");

    t_case("one that starts itself anew waits for the turn after", NULL);
    seen[0] = '\0';
    later_start(&again, loop, start_later_again, A);
    loop_run(loop);
    t_same_z(seen, "aaa");
}

static void start_again_for_ever(void *letter)
{
    later_start(&again, loop, start_again_for_ever, letter);
}

static void test_later_without_end(void **state)
{
    struct timer end = {0};

    (void)state;
    t_case("one that starts itself for ever does not keep timers from ringing", NULL);
    later_start(&again, loop, start_again_for_ever, A);
    timer_start(&end, loop, 2, see_and_stop, D);
    loop_run(loop);
    t_same_z(seen, "d");
    later_cancel(&again);
}

static void cancel_third(void *letter)
{
    see(letter);
    later_cancel(&third);
}

static void test_later_cancels_another(void **state)
{
    struct timer end = {0};

    (void)state;
    t_case("one cancelled on the very turn it was to run on does not", NULL);
    later_start(&first, loop, cancel_third, A);
    later_start(&third, loop, see, B);
    later_start(&second, loop, see, C);
    timer_start(&end, loop, 2, see_and_stop, D);
    loop_run(loop);
    t_same_z(seen, "acd");
}

/* ---- before it waits ---- */

static void test_before_waiting(void **state)
{
    struct timer soon = {0};

    (void)state;
    t_true(!loop_is_told_before_waiting(loop));
    loop_before_waiting(loop, see, D);
    t_true(loop_is_told_before_waiting(loop));
    t_case("it is told when all that was to do has been done, and each time", NULL);
    later_start(&first, loop, see, A);
    later_start(&second, loop, see, B);
    timer_start(&soon, loop, 5, see_and_stop, C);
    loop_run(loop);
    t_same_int(strncmp(seen, "abd", 3), 0);
    t_same_z(seen + strlen(seen) - 2, "cd");
    t_case("until nobody wants to know", NULL);
    loop_before_waiting(loop, NULL, NULL);
    t_true(!loop_is_told_before_waiting(loop));
    seen[0] = '\0';
    timer_start(&soon, loop, 1, see_and_stop, C);
    loop_run(loop);
    t_same_z(seen, "c");
}

/* ---- other threads ---- */

enum { POSTS = 5000, THREADS = 3 };

static int next_of[THREADS], posts_left;
static struct note {
    int thread, number;
} notes[THREADS][POSTS];

static void on_note(void *arg)
{
    const struct note *note = arg;

    t_same_int(note->number, next_of[note->thread]++);
    if (--posts_left == 0)
        loop_stop(loop);
}

static void *post_all(void *arg)
{
    struct note *mine = arg;

    for (int i = 0; i < POSTS; i++)
        loop_post(loop, on_note, &mine[i]);
    return NULL;
}

static void test_posts(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    t_case("posts of several threads all arrive, each thread's in its order", NULL);
    posts_left = THREADS * POSTS;
    for (int t = 0; t < THREADS; t++) {
        next_of[t] = 0;
        for (int i = 0; i < POSTS; i++)
            notes[t][i] = (struct note){t, i};
        pthread_create(&threads[t], NULL, post_all, notes[t]);
    }
    loop_run(loop);
    for (int t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
    t_same_int(posts_left, 0);
}

static void test_stop(void **state)
{
    (void)state;
    t_case("what was posted before the stop still runs, and the loop may be run again", NULL);
    loop_post(loop, see, A);
    loop_post(loop, see, B);
    loop_stop(loop);
    loop_run(loop);
    t_same_z(seen, "ab");
    loop_post(loop, see, C);
    loop_post(loop, see_and_stop, D);
    loop_run(loop);
    t_same_z(seen, "abcd");
    t_case("what is posted to a loop that runs no more is dropped with it", NULL);
    loop_post(loop, see, A);
}

/* ---- descriptors ---- */

static struct watch *watch;
static int pair[2];

static void on_readable(unsigned ready, void *arg)
{
    char byte;

    t_same_int(ready, WATCH_READ);
    see(arg);
    if (read(pair[0], &byte, 1) <= 0) {
        watch_stop(&watch);
        loop_stop(loop);
    }
}

static void test_watch(void **state)
{
    (void)state;
    t_case("a descriptor is ready as long as there is something to read, and at its end", NULL);
    t_true(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    t_true(write(pair[1], "xyz", 3) == 3);
    close(pair[1]);
    watch = watch_start(loop, pair[0], WATCH_READ, on_readable, A);
    t_same_z(seen, "");
    loop_run(loop);
    t_same_z(seen, "aaaa");
    t_true(watch == NULL);
    watch_stop(&watch);
    close(pair[0]);
}

static struct timer after_waking;

static void on_writable(unsigned ready, void *arg)
{
    t_same_int(ready, WATCH_WRITE);
    see(arg);
    watch_events(watch, 0);
    if (strcmp(seen, "aba") == 0)
        timer_start(&after_waking, loop, 2, see_and_stop, C);
}

static void wake_watch(void *arg)
{
    see(arg);
    watch_events(watch, WATCH_WRITE);
}

static void test_watch_sleeps(void **state)
{
    struct timer wake = {0};

    (void)state;
    t_case("a watch for nothing sleeps, and wakes when it is told to", NULL);
    t_true(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    watch = watch_start(loop, pair[0], WATCH_WRITE, on_writable, A);
    timer_start(&wake, loop, 2, wake_watch, B);
    loop_run(loop);
    t_same_z(seen, "abac");
    watch_stop(&watch);
    close(pair[0]);
    close(pair[1]);
}

static int errors;

static void on_refused(unsigned ready, void *arg)
{
    char byte;

    (void)ready, (void)arg;
    t_true(recv(pair[0], &byte, 1, 0) < 0);
    if (++errors == 2)
        loop_stop(loop);
    else
        t_true(send(pair[0], "y", 1, 0) == 1);
}

static void test_watch_goes_on_after_errors(void **state)
{
    struct sockaddr_in nobody = {.sin_family = AF_INET};
    socklen_t length = sizeof(nobody);
    struct timer end = {0};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    (void)state;
    t_case("an error on a datagram socket does not put its watch to sleep", NULL);
    nobody.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    t_true(bind(fd, (struct sockaddr *)&nobody, sizeof(nobody)) == 0);
    t_true(getsockname(fd, (struct sockaddr *)&nobody, &length) == 0);
    close(fd); /* now nobody listens there */
    pair[0] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    t_true(connect(pair[0], (struct sockaddr *)&nobody, sizeof(nobody)) == 0);
    errors = 0;
    watch = watch_start(loop, pair[0], WATCH_READ, on_refused, NULL);
    timer_start(&end, loop, 2000, see_and_stop, A);
    t_true(send(pair[0], "x", 1, 0) == 1);
    loop_run(loop);
    t_same_int(errors, 2);
    t_same_z(seen, "");
    timer_stop(&end);
    watch_stop(&watch);
    close(pair[0]);
}

/* ---- work and signals ---- */

static pthread_t worker;

static void work(void *arg)
{
    worker = pthread_self();
    *(char *)arg = 'w';
}

static void test_work(void **state)
{
    char letter = '-';

    (void)state;
    t_case("work is done on another thread, and its end told on the loop", NULL);
    loop_work(loop, work, see_and_stop, &letter);
    loop_run(loop);
    t_same_z(seen, "w");
    t_true(!pthread_equal(worker, pthread_self()));
}

static void on_signal(int signal_number, void *arg)
{
    t_same_int(signal_number, SIGUSR1);
    see_and_stop(arg);
}

static void test_signal(void **state)
{
    struct fail fail = {""};

    (void)state;
    t_case("a signal arrives on the loop", NULL);
    t_same_int(loop_on_signal(loop, SIGUSR1, on_signal, A, &fail), 0);
    raise(SIGUSR1);
    t_same_z(seen, "");
    loop_run(loop);
    t_same_z(seen, "a");
    t_case("one that cannot be caught is a sentence", NULL);
    t_same_int(loop_on_signal(loop, SIGKILL, on_signal, A, &fail), -1);
    t_true(strstr(fail.text, "signal 9") != NULL);
}

static void test_freeing(void **state)
{
    static struct timer timer;
    static struct later later;

    (void)state;
    t_case("a loop may be freed with all kinds of things started; only what waits for the next turn runs",
           NULL);
    t_true(pipe(pair) == 0);
    timer_start(&timer, loop, 0, see, A);
    later_start(&later, loop, see, B);
    watch = watch_start(loop, pair[1], WATCH_WRITE, on_writable, C);
    loop_post(loop, see, D);
    loop_free(&loop);
    t_same_z(seen, "b");
    t_true(loop == NULL);
    close(pair[0]);
    close(pair[1]);
    loop_free(&loop);
}

static void test_now(void **state)
{
    int64_t before = loop_now_ms(loop);
    struct timer a = {0};

    (void)state;
    t_case("the loop's time goes on, and a timer never rings early", NULL);
    timer_start(&a, loop, 7, see_and_stop, A);
    loop_run(loop);
    t_true(loop_now_ms(loop) >= before + 7);
    memset(loop_scratch(loop), 'x', LOOP_SCRATCH_BYTES);
}

#define ON_A_LOOP(test) cmocka_unit_test_setup_teardown(test, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_LOOP(test_timer_order),
        ON_A_LOOP(test_timer_stop),
        ON_A_LOOP(test_timer_stops_another),
        ON_A_LOOP(test_timer_starves_nobody),
        ON_A_LOOP(test_many_timers),
        ON_A_LOOP(test_later),
        ON_A_LOOP(test_later_without_end),
        ON_A_LOOP(test_later_cancels_another),
        ON_A_LOOP(test_before_waiting),
        ON_A_LOOP(test_posts),
        ON_A_LOOP(test_stop),
        ON_A_LOOP(test_watch),
        ON_A_LOOP(test_watch_sleeps),
        ON_A_LOOP(test_watch_goes_on_after_errors),
        ON_A_LOOP(test_work),
        ON_A_LOOP(test_signal),
        ON_A_LOOP(test_freeing),
        ON_A_LOOP(test_now),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
