/* Days that become due, on a clock that goes on, stands still, and is put forward and back. */
#include "report/schedule.h"

#include "base/bug.h"
#include "report/history.h"
#include "tests/t.h"

enum { DAY = 20000, AT_S = 1800, HOUR_S = 3600 };

static struct schedule schedule;
static int64_t mono_ms;

/* Half past noon of a day. */
static int64_t noon(int64_t day)
{
    return day * HISTORY_DAY_S + 12 * HOUR_S + 1800;
}

static int64_t next(int64_t now_unix)
{
    return schedule_next(&schedule, now_unix, mono_ms);
}

/* These days are due at this time, one after the other, and then none. */
static void due(int64_t now_unix, int64_t newest, int days)
{
    for (int i = 0; i < days; i++) {
        t_same_int(next(now_unix), newest - i);
        schedule_done(&schedule, false, mono_ms);
    }
    t_same_int(next(now_unix), SCHEDULE_NO_DAY);
}

static int set_up(void **state)
{
    (void)state;
    mono_ms = 0;
    schedule_init(&schedule, AT_S);
    return 0;
}

static void test_every_day(void **state)
{
    int64_t midnight = (int64_t)(DAY + 1) * HISTORY_DAY_S;

    (void)state;
    t_case("at the start, yesterday and the days before, the newest first", NULL);
    due(noon(DAY), DAY - 1, 1 + SCHEDULE_CATCH_UP_DAYS);
    t_case("nothing before the set time", NULL);
    due(midnight, 0, 0);
    due(midnight + AT_S - 1, 0, 0);
    t_case("the day that has ended, at the set time, once", NULL);
    due(midnight + AT_S, DAY, 1);
    due(midnight + AT_S + 1, 0, 0);
    due(noon(DAY + 1), 0, 0);
}

static void test_clock(void **state)
{
    (void)state;
    due(noon(DAY), DAY - 1, 1 + SCHEDULE_CATCH_UP_DAYS);
    t_case("put forward by three days: those days", NULL);
    due(noon(DAY + 3), DAY + 2, 3);
    t_case("put forward by a year: no more than a few", NULL);
    due(noon(DAY + 365), DAY + 364, 1 + SCHEDULE_CATCH_UP_DAYS);
    t_case("put back by an hour: nothing", NULL);
    due(noon(DAY + 365) - HOUR_S, 0, 0);
    t_case("put back to where it was: the days that are due there, and then every day again", NULL);
    due(noon(DAY), DAY - 1, 1 + SCHEDULE_CATCH_UP_DAYS);
    due(noon(DAY + 1), DAY, 1);
    t_case("a clock that was never set", NULL);
    set_up(NULL);
    due(0, 0, 0);
    due(HISTORY_DAY_S, 0, 0);
    due(HISTORY_DAY_S + AT_S, 0, 1);
    due(noon(DAY), DAY - 1, 1 + SCHEDULE_CATCH_UP_DAYS);
}

static void test_left(void **state)
{
    (void)state;
    t_same_int(next(noon(DAY)), DAY - 1);
    schedule_done(&schedule, true, mono_ms);
    t_same_int(next(noon(DAY)), DAY - 2);
    schedule_done(&schedule, true, mono_ms);
    due(noon(DAY), DAY - 3, SCHEDULE_CATCH_UP_DAYS - 1);
    t_case("what is left is tried again, but not at once", NULL);
    mono_ms += SCHEDULE_AGAIN_MS - 1;
    due(noon(DAY), 0, 0);
    mono_ms++;
    t_same_int(next(noon(DAY)), DAY - 1);
    schedule_done(&schedule, false, mono_ms);
    t_same_int(next(noon(DAY)), DAY - 2);
    schedule_done(&schedule, true, mono_ms);
    due(noon(DAY), 0, 0);
    t_case("the next day comes first, and then what is left", NULL);
    due(noon(DAY + 1), DAY, 3);
    mono_ms += SCHEDULE_AGAIN_MS;
    due(noon(DAY + 1), 0, 0);
}

static void test_interrupted(void **state)
{
    (void)state;
    t_same_int(next(noon(DAY)), DAY - 1);
    schedule_done(&schedule, false, mono_ms);
    t_case("a day that becomes due during a run comes next, and then the run's older days", NULL);
    due(noon(DAY + 1), DAY, 1 + SCHEDULE_CATCH_UP_DAYS);
}

#define ROW(test) cmocka_unit_test_setup(test, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {ROW(test_every_day), ROW(test_clock), ROW(test_left),
                                       ROW(test_interrupted)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
