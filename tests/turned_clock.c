#include "tests/turned_clock.h"

atomic_llong turned_unix;

static int64_t unix_s(const struct clock *clock)
{
    (void)clock;
    return turned_unix;
}

static int64_t mono_ms(const struct clock *clock)
{
    (void)clock;
    return turned_unix * 1000;
}

const struct clock turned_clock = {unix_s, mono_ms};
