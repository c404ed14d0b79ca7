#include "report/journal_record.h"

#include <string.h>

enum { RECORD_VERSION = 1 };

/* Version, accepted?, the record, and what makes the lot: day, origin, domain, tuple. */
static size_t put_number(char *p, uint64_t number, size_t octets)
{
    for (size_t i = 0; i < octets; i++)
        p[i] = (char)(number >> 8 * (octets - 1 - i));
    return octets;
}

static size_t put_run(char *p, struct str run, size_t length_octets)
{
    size_t n = put_number(p, run.n, length_octets);

    if (run.n > 0)
        memcpy(p + n, run.p, run.n);
    return n + run.n;
}

struct str journal_record(struct arena *mem, const struct history_lot *lot)
{
    char *p = arena_alloc(mem, 32 + lot->record.n + lot->domain.n + lot->tuple.n);
    size_t n = put_number(p, RECORD_VERSION, 1);

    n += put_number(p + n, lot->accepted, 1);
    n += put_run(p + n, lot->record, 2);
    n += put_number(p + n, (uint64_t)lot->day, 4);
    n += put_number(p + n, lot->origin, 8);
    n += put_run(p + n, lot->domain, 1);
    n += put_run(p + n, lot->tuple, 2);
    return str_make(p, n);
}

static uint64_t take_number(struct str *rest, size_t octets)
{
    uint64_t number = 0;

    for (size_t i = 0; i < octets && i < rest->n; i++)
        number = number << 8 | (unsigned char)rest->p[i];
    *rest = str_from(*rest, octets);
    return number;
}

static struct str take_run(struct str *rest, size_t length_octets)
{
    size_t n = (size_t)take_number(rest, length_octets);
    struct str run = str_upto(*rest, n);

    *rest = str_from(*rest, n);
    return run;
}

bool journal_record_read(struct str record, struct history_lot *lot_out)
{
    struct str rest = record;

    *lot_out = (struct history_lot){.messages = 1};
    if (take_number(&rest, 1) != RECORD_VERSION)
        return false;
    lot_out->accepted = take_number(&rest, 1);
    lot_out->record = take_run(&rest, 2);
    lot_out->day = (int64_t)take_number(&rest, 4);
    lot_out->origin = take_number(&rest, 8);
    lot_out->domain = take_run(&rest, 1);
    lot_out->tuple = take_run(&rest, 2);
    return rest.n == 0 && history_lot_is_valid(lot_out);
}

struct str journal_record_key(struct str record, const struct history_lot *lot)
{
    return str_from(record, 1 + 1 + 2 + lot->record.n);
}

struct str journal_record_domain_key(struct str key, const struct history_lot *lot)
{
    return str_upto(key, 4 + 8 + 1 + lot->domain.n);
}
