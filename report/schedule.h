/*
 * report/schedule.h - which day's reports are due
 *
 * A day (UTC) is due from `at_s` of the next one on, whatever the clock did meanwhile: whoever was off at that
 * time, or whose clock has been put forward, catches up on SCHEDULE_CATCH_UP_DAYS days before it as well, the
 * newest first. A clock that is put back makes days due that were reported already: by their leases
 * (report/lease.h) nothing of them is sent again. What is left of a day is tried again every SCHEDULE_AGAIN_MS.
 *
 * Pure, no clock of its own.
 */
#ifndef REPORT_SCHEDULE_H
#define REPORT_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

enum { SCHEDULE_CATCH_UP_DAYS = 3, SCHEDULE_AGAIN_MS = 3600 * 1000, SCHEDULE_NO_DAY = -1 };

struct schedule {
    int64_t at_s;          /* of the day */
    int64_t newest;        /* the last day that was due; SCHEDULE_NO_DAY before the first call */
    int64_t day, until;    /* the day at work, and the oldest one that this run shall come to */
    int64_t left;          /* the oldest day with something left, or SCHEDULE_NO_DAY */
    int64_t again_mono_ms; /* when it is tried again */
};

void schedule_init(struct schedule *schedule, int64_t at_s);

/* The day whose reports shall be made now, or SCHEDULE_NO_DAY. When they are made, schedule_done() is called
 * first, and then this again. */
int64_t schedule_next(struct schedule *schedule, int64_t now_unix, int64_t mono_ms);

void schedule_done(struct schedule *schedule, bool is_left, int64_t mono_ms);

#endif
