/*
 * tests/turned_clock.h - a clock that whoever tests turns by hand; stores read it on threads of their own
 */
#ifndef TESTS_TURNED_CLOCK_H
#define TESTS_TURNED_CLOCK_H

#include "base/clock.h"

#include <stdatomic.h>

extern atomic_llong turned_unix; /* what it shows, in seconds; its monotonic time goes along */
extern const struct clock turned_clock;

#endif
