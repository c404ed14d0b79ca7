#include "base/loop.h"

#include "base/bug.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

enum { ROUNDS_A_TURN = 16 };

struct post {
    struct post *next;
    loop_fn *fn;
    void *arg;
};

/* Timers are kept in a heap of our own on one uv_timer: starting and stopping one is a few swaps,
 * needs no memory, and stopping is immediate (a uv_timer must be closed, and lives until a later turn). */
struct loop {
    uv_loop_t uv;
    uv_timer_t alarm;
    uv_idle_t idle; /* started while `laters` is not empty, so that the loop does not sleep */
    uv_prepare_t before_waiting;
    loop_fn *waiting_fn;
    void *waiting_arg;
    uv_async_t wake;
    struct timer **heap; /* heap[1] is due first */
    size_t heap_count, heap_room;
    struct later laters;  /* ring with this head */
    pthread_mutex_t lock; /* guards posts, posts_end and stopping */
    struct post *posts, **posts_end;
    bool stopping;
    char scratch[LOOP_SCRATCH_BYTES];
};

struct watch {
    uv_poll_t poll;
    watch_fn *fn;
    void *arg;
    unsigned events;
};

struct work {
    uv_work_t request;
    loop_fn *work, *done;
    void *arg;
};

struct signal_watch {
    uv_signal_t uv;
    signal_fn *fn;
    void *arg;
};

static void *get_memory(size_t bytes)
{
    void *p = calloc(1, bytes);

    if (p == NULL)
        out_of_memory();
    return p;
}

/* ---- timers ---- */

static void put(struct loop *loop, size_t place, struct timer *timer)
{
    loop->heap[place] = timer;
    timer->place = place;
}

static void sift_up(struct loop *loop, size_t place)
{
    struct timer *timer = loop->heap[place];

    while (place > 1 && loop->heap[place / 2]->due_ms > timer->due_ms) {
        put(loop, place, loop->heap[place / 2]);
        place /= 2;
    }
    put(loop, place, timer);
}

static void sift_down(struct loop *loop, size_t place)
{
    struct timer *timer = loop->heap[place];

    for (size_t child; (child = place * 2) <= loop->heap_count; place = child) {
        if (child < loop->heap_count && loop->heap[child + 1]->due_ms < loop->heap[child]->due_ms)
            child++;
        if (loop->heap[child]->due_ms >= timer->due_ms)
            break;
        put(loop, place, loop->heap[child]);
    }
    put(loop, place, timer);
}

static void on_alarm(uv_timer_t *alarm);

/* The alarm is only ever moved forward in time lazily: one that rings too early finds nothing due and is set
 * anew. */
static void set_alarm(struct loop *loop)
{
    int64_t due, now = (int64_t)uv_now(&loop->uv);

    if (loop->heap_count == 0)
        return;
    due = loop->heap[1]->due_ms;
    if (uv_is_active((uv_handle_t *)&loop->alarm) &&
        (int64_t)uv_timer_get_due_in(&loop->alarm) <= (due > now ? due - now : 0))
        return;
    uv_timer_start(&loop->alarm, on_alarm, due > now ? (uint64_t)(due - now) : 0, 0);
}

static void on_alarm(uv_timer_t *alarm)
{
    struct loop *loop = alarm->data;
    int64_t now = (int64_t)uv_now(&loop->uv);

    while (loop->heap_count > 0 && loop->heap[1]->due_ms <= now) {
        struct timer *timer = loop->heap[1];

        timer_stop(timer);
        timer->fn(timer->arg);
    }
    set_alarm(loop);
}

void timer_start(struct timer *timer, struct loop *loop, int64_t after_ms, loop_fn *fn, void *arg)
{
    timer_stop(timer);
    if (loop->heap_count + 2 > loop->heap_room) {
        loop->heap_room = loop->heap_room > 0 ? loop->heap_room * 2 : 64;
        loop->heap = realloc(loop->heap, loop->heap_room * sizeof(*loop->heap));
        if (loop->heap == NULL)
            out_of_memory();
    }
    /* At least a millisecond, so that a timer that starts itself anew lets the loop turn (see on_alarm). */
    *timer = (struct timer){loop, fn, arg, (int64_t)uv_now(&loop->uv) + (after_ms > 1 ? after_ms : 1), 0};
    loop->heap[++loop->heap_count] = timer;
    sift_up(loop, loop->heap_count);
    if (timer->place == 1)
        set_alarm(loop);
}

void timer_stop(struct timer *timer)
{
    struct loop *loop = timer->loop;
    size_t place = timer->place;
    struct timer *last;

    if (place == 0)
        return;
    last = loop->heap[loop->heap_count--];
    timer->place = 0;
    if (last == timer)
        return;
    put(loop, place, last);
    sift_up(loop, place);
    sift_down(loop, last->place);
}

/* ---- the next turn ---- */

static void unlink_later(struct later *later)
{
    later->previous->next = later->next;
    later->next->previous = later->previous;
    later->next = later->previous = NULL;
}

/* Runs what is there now: what is started meanwhile waits for the next round. */
static void run_laters(struct loop *loop)
{
    struct later round, *all = &loop->laters;

    round.next = all->next;
    round.previous = all->previous;
    round.next->previous = round.previous->next = &round;
    all->next = all->previous = all;
    while (round.next != &round) {
        struct later *later = round.next;

        unlink_later(later);
        later->fn(later->arg);
    }
}

/* A chain of them (names in the DNS cache, one after the other) needs no look at the descriptors in between;
 * one without end gets it all the same. */
static void on_idle(uv_idle_t *idle)
{
    struct loop *loop = idle->data;

    for (int i = 0; i < ROUNDS_A_TURN && loop->laters.next != &loop->laters; i++)
        run_laters(loop);
    if (loop->laters.next == &loop->laters)
        uv_idle_stop(idle);
}

void later_start(struct later *later, struct loop *loop, loop_fn *fn, void *arg)
{
    struct later *all = &loop->laters;

    if (later->next != NULL)
        return;
    *later = (struct later){loop, fn, arg, all, all->previous};
    all->previous->next = later;
    all->previous = later;
    uv_idle_start(&loop->idle, on_idle);
}

void later_cancel(struct later *later)
{
    if (later->next != NULL)
        unlink_later(later);
}

bool loop_is_told_before_waiting(const struct loop *loop)
{
    return loop->waiting_fn != NULL;
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;

    loop->waiting_fn(loop->waiting_arg);
}

void loop_before_waiting(struct loop *loop, loop_fn *fn, void *arg)
{
    loop->waiting_fn = fn;
    loop->waiting_arg = arg;
    if (fn != NULL)
        uv_prepare_start(&loop->before_waiting, on_prepare);
    else
        uv_prepare_stop(&loop->before_waiting);
}

/* ---- other threads ---- */

static void on_wake(uv_async_t *wake)
{
    struct loop *loop = wake->data;
    struct post *post;
    bool stopping;

    pthread_mutex_lock(&loop->lock);
    post = loop->posts;
    loop->posts = NULL;
    loop->posts_end = &loop->posts;
    stopping = loop->stopping;
    loop->stopping = false; /* the loop may be run again */
    pthread_mutex_unlock(&loop->lock);
    while (post != NULL) {
        struct post *next = post->next;

        post->fn(post->arg);
        free(post);
        post = next;
    }
    if (stopping)
        uv_stop(&loop->uv);
}

void loop_post(struct loop *loop, loop_fn *fn, void *arg)
{
    struct post *post = get_memory(sizeof(*post));
    bool was_empty;

    post->fn = fn;
    post->arg = arg;
    pthread_mutex_lock(&loop->lock);
    was_empty = loop->posts == NULL;
    *loop->posts_end = post;
    loop->posts_end = &post->next;
    pthread_mutex_unlock(&loop->lock);
    if (was_empty)
        uv_async_send(&loop->wake);
}

void loop_stop(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->stopping = true;
    pthread_mutex_unlock(&loop->lock);
    uv_async_send(&loop->wake);
}

/* ---- descriptors ---- */

static void on_poll(uv_poll_t *poll, int status, int events);

static int poll_for(struct watch *watch, unsigned events)
{
    int uv_events = ((events & WATCH_READ) ? UV_READABLE : 0) | ((events & WATCH_WRITE) ? UV_WRITABLE : 0);

    return uv_events == 0 ? uv_poll_stop(&watch->poll) : uv_poll_start(&watch->poll, uv_events, on_poll);
}

/* libuv stops a poll that has an error, and a UDP socket has one for each ICMP message: so it is started
 * anew. */
static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    unsigned ready = ((events & UV_READABLE) ? WATCH_READ : 0u) | ((events & UV_WRITABLE) ? WATCH_WRITE : 0u);

    if (status < 0 && poll_for(watch, watch->events) != 0)
        bug("uv_poll_start");
    if (status < 0 || (events & UV_DISCONNECT) || ready == 0)
        ready = watch->events;
    watch->fn(ready, watch->arg);
}

struct watch *watch_start(struct loop *loop, int fd, unsigned events, watch_fn *fn, void *arg)
{
    struct watch *watch = get_memory(sizeof(*watch));

    if (uv_poll_init(&loop->uv, &watch->poll, fd) != 0)
        bug("watch_start on descriptor %d", fd);
    watch->poll.data = watch;
    watch->fn = fn;
    watch->arg = arg;
    watch_events(watch, events);
    return watch;
}

void watch_events(struct watch *watch, unsigned events)
{
    if (watch->events == events)
        return;
    watch->events = events;
    if (poll_for(watch, events) != 0)
        bug("uv_poll_start");
}

static void on_watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void watch_stop(struct watch **watch)
{
    if (*watch == NULL)
        return;
    uv_close((uv_handle_t *)&(*watch)->poll, on_watch_closed);
    *watch = NULL;
}

/* ---- blocking work, signals ---- */

static void run_work(uv_work_t *request)
{
    struct work *work = request->data;

    work->work(work->arg);
}

static void on_work_done(uv_work_t *request, int status)
{
    struct work *work = request->data;

    (void)status; /* never cancelled */
    work->done(work->arg);
    free(work);
}

void loop_work(struct loop *loop, loop_fn *fn, loop_fn *done, void *arg)
{
    struct work *work = get_memory(sizeof(*work));

    *work = (struct work){.work = fn, .done = done, .arg = arg};
    work->request.data = work;
    if (uv_queue_work(&loop->uv, &work->request, run_work, on_work_done) != 0)
        bug("uv_queue_work");
}

static void on_uv_signal(uv_signal_t *uv, int signal_number)
{
    struct signal_watch *watch = uv->data;

    watch->fn(signal_number, watch->arg);
}

int loop_on_signal(struct loop *loop, int signal_number, signal_fn *fn, void *arg, struct fail *fail)
{
    struct signal_watch *watch = get_memory(sizeof(*watch));
    int error;

    uv_signal_init(&loop->uv, &watch->uv);
    watch->uv.data = watch;
    watch->fn = fn;
    watch->arg = arg;
    error = uv_signal_start(&watch->uv, on_uv_signal, signal_number);
    if (error != 0) {
        uv_close((uv_handle_t *)&watch->uv, on_watch_closed);
        return fail_set(fail, "cannot listen for signal %d: %s", signal_number, uv_strerror(error));
    }
    return 0;
}

/* ---- the loop itself ---- */

struct loop *loop_new(void)
{
    struct loop *loop = get_memory(sizeof(*loop));

    if (uv_loop_init(&loop->uv) != 0)
        out_of_memory();
    uv_timer_init(&loop->uv, &loop->alarm);
    uv_idle_init(&loop->uv, &loop->idle);
    uv_prepare_init(&loop->uv, &loop->before_waiting);
    if (uv_async_init(&loop->uv, &loop->wake, on_wake) != 0)
        out_of_memory();
    loop->alarm.data = loop->idle.data = loop->before_waiting.data = loop->wake.data = loop;
    loop->laters.next = loop->laters.previous = &loop->laters;
    loop->posts_end = &loop->posts;
    pthread_mutex_init(&loop->lock, NULL);
    return loop;
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    struct loop *loop = arg;

    if (uv_is_closing(handle))
        return;
    if (handle == (uv_handle_t *)&loop->alarm || handle == (uv_handle_t *)&loop->idle ||
        handle == (uv_handle_t *)&loop->before_waiting || handle == (uv_handle_t *)&loop->wake)
        uv_close(handle, NULL);
    else
        uv_close(handle, on_watch_closed);
}

void loop_free(struct loop **loop)
{
    struct loop *l = *loop;

    if (l == NULL)
        return;
    while (l->laters.next != &l->laters) /* burials, mostly */
        on_idle(&l->idle);
    uv_walk(&l->uv, close_handle, l);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    uv_loop_close(&l->uv);
    while (l->posts != NULL) {
        struct post *next = l->posts->next;

        free(l->posts);
        l->posts = next;
    }
    pthread_mutex_destroy(&l->lock);
    free(l->heap);
    free(l);
    *loop = NULL;
}

void loop_run(struct loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

int64_t loop_now_ms(struct loop *loop)
{
    return (int64_t)uv_now(&loop->uv);
}

char *loop_scratch(struct loop *loop)
{
    return loop->scratch;
}
