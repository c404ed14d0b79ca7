#include "base/clock.h"

#include <time.h>

static int64_t system_unix_s(const struct clock *clock)
{
    (void)clock;
    return (int64_t)time(NULL);
}

static int64_t system_mono_ms(const struct clock *clock)
{
    struct timespec now;

    (void)clock;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const struct clock *clock_system(void)
{
    static const struct clock system = {system_unix_s, system_mono_ms};

    return &system;
}

static int64_t manual_unix_s(const struct clock *clock)
{
    return ((const struct clock_manual *)clock)->unix_s;
}

static int64_t manual_mono_ms(const struct clock *clock)
{
    return ((const struct clock_manual *)clock)->mono_ms;
}

void clock_manual_init(struct clock_manual *manual, int64_t unix_s)
{
    *manual = (struct clock_manual){{manual_unix_s, manual_mono_ms}, unix_s, 1000};
}

void clock_manual_advance_ms(struct clock_manual *manual, int64_t ms)
{
    manual->unix_s += (manual->mono_ms % 1000 + ms) / 1000;
    manual->mono_ms += ms;
}
