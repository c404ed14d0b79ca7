/*
 * proxy/watch.h - files that are read again when they have changed
 *
 * Who writes a file in place leaves half of it, or nothing, to be read for a while; half a list of recipients would
 * refuse the other half for good. So a change counts when a second look finds the same.
 */
#ifndef PROXY_WATCH_H
#define PROXY_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/* Marks of one file or several: equal as long as nobody has written to them. */
struct watch {
    uint64_t read; /* when they were read */
    uint64_t seen; /* at the last look */
};

uint64_t watch_mark(const char *path); /* NULL, "", and a file that is not there are 0 */

/* One look. True: they are not what was read, and were the same at the look before. */
bool watch_is_due(struct watch *watch, uint64_t mark);

#endif
