#include "proxy/hearing.h"

#include "base/bug.h"
#include "proxy/login.h"

#include <stdlib.h>

enum { PATIENCE_MS = 4000 };

struct hearing {
    struct backends *backends;
    struct login_probe *probe; /* NULL: none is under way */
    struct timer patience; /* started: one waits for this hearing */
    struct hearing_wait *waits;
};

struct hearing *hearing_new(struct backends *backends)
{
    struct hearing *h = calloc(1, sizeof(*h));

    if (h == NULL)
        out_of_memory();
    h->backends = backends;
    return h;
}

void hearing_free(struct hearing **hearing)
{
    struct hearing *h = *hearing;

    *hearing = NULL;
    if (h == NULL)
        return;
    if (h->waits != NULL)
        bug("a hearing that somebody waits for is freed");
    login_probe_cancel(&h->probe);
    timer_stop(&h->patience);
    free(h);
}

static void enlist(struct hearing_wait **list, struct hearing_wait *wait)
{
    wait->next = *list;
    if (wait->next != NULL)
        wait->next->place = &wait->next;
    wait->place = list;
    *list = wait;
}

void hearing_cancel(struct hearing_wait *wait)
{
    if (wait->place == NULL)
        return;
    *wait->place = wait->next;
    if (wait->next != NULL)
        wait->next->place = wait->place;
    wait->place = NULL;
}

/* Who is told may wait for the next hearing at once, so the list begins anew. */
static void tell_all(struct hearing *h)
{
    struct hearing_wait *told = h->waits, *wait;

    h->waits = NULL;
    if (told != NULL)
        told->place = &told;
    while ((wait = told) != NULL) {
        hearing_cancel(wait);
        wait->done(wait->arg);
    }
}

/* The timer is not started again while this hearing lasts. */
static void on_patience(void *arg)
{
    tell_all(arg);
}

static void on_probed(void *arg)
{
    struct hearing *h = arg;

    h->probe = login_probe_start(backends_unheard(h->backends), on_probed, h); /* the next one */
    if (h->probe != NULL)
        return;
    timer_stop(&h->patience);
    tell_all(h);
}

static void begin(struct hearing *h)
{
    bool is_first = !backends_offer(h->backends).known;

    h->probe = login_probe_start(backends_unheard(h->backends), on_probed, h);
    if (h->probe != NULL && is_first)
        timer_start(&h->patience, backends_loop(h->backends), PATIENCE_MS, on_patience, h);
}

bool hearing_wait(struct hearing *hearing, struct hearing_wait *wait, void (*done)(void *arg), void *arg)
{
    if (hearing->probe == NULL)
        begin(hearing);
    if (hearing->probe == NULL || !timer_is_started(&hearing->patience))
        return false;
    wait->done = done;
    wait->arg = arg;
    enlist(&hearing->waits, wait);
    return true;
}
