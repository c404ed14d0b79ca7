#include "proxy/census.h"

#include "base/bug.h"
#include "proxy/session.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Belongs to the main thread and to each worker that has not answered: the last one frees it. */
struct question {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    size_t owners, silent;
    struct census sum;
};

/* ---- counting ---- */

static void count(struct census *census, const char *moment, size_t sessions)
{
    size_t at = 0;

    while (at < census->count && strcmp(census->rows[at].moment, moment) < 0)
        at++;
    if (at == census->count || strcmp(census->rows[at].moment, moment) != 0) {
        if (census->count == CENSUS_ROWS)
            bug("more than %d moments of a session", CENSUS_ROWS);
        memmove(&census->rows[at + 1], &census->rows[at], (census->count - at) * sizeof(census->rows[0]));
        census->rows[at] = (struct census_row){moment, 0};
        census->count++;
    }
    census->rows[at].sessions += sessions;
}

void census_add(struct census *census, const struct census *other)
{
    for (size_t i = 0; i < other->count; i++)
        count(census, other->rows[i].moment, other->rows[i].sessions);
}

/* ---- asking ---- */

static void leave(struct question *question)
{
    bool is_last = --question->owners == 0;

    pthread_mutex_unlock(&question->lock);
    if (!is_last)
        return;
    pthread_cond_destroy(&question->answered);
    pthread_mutex_destroy(&question->lock);
    free(question);
}

/* On the worker's loop. */
static void on_asked(const struct service *services, void *arg)
{
    struct question *question = arg;
    struct census own = {0};

    for (; services != NULL; services = services->next)
        for (const struct session *s = services->sessions; s != NULL; s = session_next(s))
            count(&own, session_moment(s), 1);
    pthread_mutex_lock(&question->lock);
    census_add(&question->sum, &own);
    if (--question->silent == 0)
        pthread_cond_signal(&question->answered);
    leave(question);
}

static struct question *new_question(size_t workers)
{
    struct question *question = calloc(1, sizeof(*question));
    pthread_condattr_t monotonic;

    if (question == NULL)
        out_of_memory();
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&question->lock, NULL);
    pthread_cond_init(&question->answered, &monotonic);
    pthread_condattr_destroy(&monotonic);
    question->silent = workers;
    question->owners = workers + 1;
    return question;
}

static struct timespec in_ms(long ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += ms * 1000000;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

void census_take(struct worker *const *workers, size_t workers_count, struct census *out)
{
    struct question *question = new_question(workers_count);
    struct timespec until = in_ms(CENSUS_MS);
    int error = 0;

    for (size_t i = 0; i < workers_count; i++)
        worker_ask(workers[i], on_asked, question);
    pthread_mutex_lock(&question->lock);
    while (question->silent > 0 && error == 0)
        error = pthread_cond_timedwait(&question->answered, &question->lock, &until);
    *out = question->sum;
    out->silent = question->silent;
    leave(question);
}
