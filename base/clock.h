/*
 * base/clock.h - the time, as something that a test can turn by hand
 *
 * Two clocks in one: `unix` is the wall clock in seconds (records, signatures, greylist), `mono`
 * counts milliseconds and never jumps (deadlines). Code takes a `const struct clock *` and asks
 * nothing else. A NULL clock is not allowed; use clock_system().
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

struct clock {
    int64_t (*unix_s)(const struct clock *clock);
    int64_t (*mono_ms)(const struct clock *clock);
};

const struct clock *clock_system(void);

static inline int64_t clock_unix(const struct clock *clock)
{
    return clock->unix_s(clock);
}
static inline int64_t clock_mono_ms(const struct clock *clock)
{
    return clock->mono_ms(clock);
}

/* A clock that stands still until somebody writes its fields. */
struct clock_manual {
    struct clock clock;
    int64_t unix_s, mono_ms;
};
void clock_manual_init(struct clock_manual *manual, int64_t unix_s);
void clock_manual_advance_ms(struct clock_manual *manual, int64_t ms); /* turns both */

#endif
