/*
 * base/loop.h - one event loop, on one thread                    (the door to libuv)
 *
 * Ownership  `struct timer` and `struct later` live inside their owner's struct and cost nothing
 *            until started; stopping them is immediate, so the owner may be freed right after.
 *            A `struct watch` belongs to whoever started it; watch_stop() ends it at once.
 * Timing     Nothing is called before the starting function has returned. After timer_stop(),
 *            later_cancel() or watch_stop() the callback never runs again.
 * Threads    Everything is for the loop's own thread, but loop_post() and loop_stop().
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/fail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
typedef void loop_fn(void *arg);

struct loop *loop_new(void);
/* After loop_run() has returned. What is due on the next turn still runs; all else that was started is
 * dropped. */
void loop_free(struct loop **loop);
void loop_run(struct loop *loop);       /* until loop_stop(); may be run again */
void loop_stop(struct loop *loop);      /* from any thread; what was posted before still runs */
int64_t loop_now_ms(struct loop *loop); /* monotonic, taken once a turn: cheap */

/* A place for reads: one a loop, so that idle connections need no buffer. Good until the callback returns. */
enum { LOOP_SCRATCH_BYTES = 64 * 1024 };
char *loop_scratch(struct loop *loop);

/* Runs fn(arg) on the loop's thread, soon and in order. From any thread. */
void loop_post(struct loop *loop, loop_fn *fn, void *arg);

/* One shot. Starting a started timer moves it. */
struct timer {
    struct loop *loop; /* the rest is the loop's */
    loop_fn *fn;
    void *arg;
    int64_t due_ms;
    size_t place; /* in the loop's heap, from 1; 0: not started */
};
void timer_start(struct timer *timer, struct loop *loop, int64_t after_ms, loop_fn *fn, void *arg);
void timer_stop(struct timer *timer); /* fine when not started */
static inline bool timer_is_started(const struct timer *timer)
{
    return timer->place != 0;
}

/* On the next turn of the loop. Starting a started one changes nothing. */
struct later {
    struct loop *loop;
    loop_fn *fn;
    void *arg;
    struct later *next, *previous;
};
void later_start(struct later *later, struct loop *loop, loop_fn *fn, void *arg);
void later_cancel(struct later *later); /* fine when not started */

/* Each time that the loop has done what there was to do, before it waits. One a loop; NULL: no more. */
void loop_before_waiting(struct loop *loop, loop_fn *fn, void *arg);
bool loop_is_told_before_waiting(const struct loop *loop);

/* Readiness of a descriptor, level-triggered. Errors and hang-ups count as ready, so that the
 * reader sees them. Stop the watch before closing the descriptor. */
enum { WATCH_READ = 1, WATCH_WRITE = 2 };
struct watch;
typedef void watch_fn(unsigned ready, void *arg);
struct watch *watch_start(struct loop *loop, int fd, unsigned events, watch_fn *fn, void *arg);
void watch_events(struct watch *watch, unsigned events); /* 0: sleep */
void watch_stop(struct watch **watch);                   /* NULL is fine; leaves NULL */

/* Work that may block (a file), on a thread of the pool; `done` comes back to the loop. Never cancelled:
 * arg lives until `done` has run. */
void loop_work(struct loop *loop, loop_fn *work, loop_fn *done, void *arg);

/* Signals arrive on the loop that asked for them. */
typedef void signal_fn(int signal_number, void *arg);
int loop_on_signal(struct loop *loop, int signal_number, signal_fn *fn, void *arg, struct fail *fail);

#endif
