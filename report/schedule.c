#include "report/schedule.h"

#include "report/history.h"

void schedule_init(struct schedule *s, int64_t at_s)
{
    *s = (struct schedule){.at_s = at_s,
                           .newest = SCHEDULE_NO_DAY,
                           .day = SCHEDULE_NO_DAY,
                           .until = SCHEDULE_NO_DAY,
                           .left = SCHEDULE_NO_DAY};
}

static int64_t greater(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t begin(struct schedule *s, int64_t newest, int64_t until)
{
    s->newest = s->day = newest;
    s->until = greater(until, greater(newest - SCHEDULE_CATCH_UP_DAYS, 0));
    s->left = SCHEDULE_NO_DAY;
    return s->day;
}

/* Everything before it is done. */
static int64_t oldest_open(const struct schedule *s)
{
    if (s->day > s->until)
        return s->until;
    return s->left != SCHEDULE_NO_DAY ? s->left : s->newest + 1;
}

int64_t schedule_next(struct schedule *s, int64_t now_unix, int64_t mono_ms)
{
    int64_t due = (now_unix - s->at_s) / HISTORY_DAY_S - 1;

    if (due < 0) /* a clock that was never set */
        return SCHEDULE_NO_DAY;
    if (due < s->newest || s->newest == SCHEDULE_NO_DAY)
        return begin(s, due, 0);
    if (due > s->newest)
        return begin(s, due, oldest_open(s));
    if (s->day > s->until)
        return --s->day;
    if (s->left != SCHEDULE_NO_DAY && mono_ms >= s->again_mono_ms)
        return begin(s, s->newest, s->left);
    return SCHEDULE_NO_DAY;
}

/* Days come from the newest to the oldest, so the last one that is left is the oldest. */
void schedule_done(struct schedule *s, bool is_left, int64_t mono_ms)
{
    if (!is_left)
        return;
    s->left = s->day;
    s->again_mono_ms = mono_ms + SCHEDULE_AGAIN_MS;
}
