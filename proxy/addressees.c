#include "proxy/addressees.h"

void addressees_init(struct addressees *all, struct arena *mem)
{
    *all = (struct addressees){.mem = mem};
    all->end = &all->first;
}

void addressees_add(struct addressees *all, struct str recipient, bool alone)
{
    struct addressee *one = ARENA_NEW(all->mem, struct addressee);

    *one = (struct addressee){.recipient = str_copy(all->mem, recipient), .all = all};
    *all->end = one;
    all->end = &one->next;
    all->count++;
    all->alone = all->alone || alone;
}

void addressees_expect(struct addressees *all)
{
    all->due = all->first;
}

bool addressees_heard(struct addressees *all, const struct relay_reply *reply)
{
    all->due->reply = *reply;
    all->due = all->due->next;
    return all->due == NULL;
}

unsigned addressees_taken(const struct addressees *all)
{
    unsigned taken = 0;

    for (const struct addressee *one = all->first; one != NULL; one = one->next)
        taken += one->reply.code / 100 == 2;
    return taken;
}

bool addressees_are_divided(const struct addressees *all)
{
    unsigned taken = addressees_taken(all);

    return taken > 0 && taken < all->count;
}

/* The table is in docs/smtp.md. A refusal that holds for some only must not be heard as one for all, so 4xx goes
 * before 5xx. */
const struct relay_reply *addressees_answer(const struct addressees *all)
{
    const struct relay_reply *chosen = &all->first->reply;

    for (const struct addressee *one = all->first; one != NULL; one = one->next)
        if (one->reply.code < chosen->code)
            chosen = &one->reply;
    return chosen;
}

static void on_noted(bool stored, void *arg)
{
    struct addressee *one = arg;
    struct addressees *all = one->all;

    (void)stored; /* what the store does not know this process does */
    one->noting = NULL;
    if (--all->noting == 0)
        all->noted(all->arg);
}

void addressees_note(struct addressees *all, const struct addressees_place *place, loop_fn *done, void *arg)
{
    all->noted = done;
    all->arg = arg;
    all->noting = all->count;
    for (struct addressee *one = all->first; one != NULL; one = one->next)
        one->noting = partials_note(place->partials, place->loop, all->mem,
                                    &(struct partial_pair){place->sender, one->recipient},
                                    one->reply.code / 100 == 2 ? place->message : STR(""), on_noted, one);
}

void addressees_cancel(struct addressees *all)
{
    for (struct addressee *one = all->first; one != NULL; one = one->next)
        partial_cancel(&one->noting);
}
