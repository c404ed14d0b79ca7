#include "report/merge.h"

#include "report/history_row.h"

#include <string.h>

enum { NUMBER_OCTETS = 8 };

/* The greater of each number. */
static struct str greater_numbers(struct arena *mem, struct str a, struct str b)
{
    char *numbers = arena_copy(mem, b.p, b.n);

    for (size_t i = 0; i + NUMBER_OCTETS <= b.n; i += NUMBER_OCTETS)
        if (memcmp(a.p + i, b.p + i, NUMBER_OCTETS) > 0)
            memcpy(numbers + i, a.p + i, NUMBER_OCTETS);
    return str_make(numbers, b.n);
}

void report_merge(struct arena *mem, struct str key, const struct store_row *ours, struct store_row *theirs)
{
    struct history_key parts;

    if (theirs->value.n == 0)
        *theirs = *ours;
    else if (!history_key_read(key, &parts))
        return;
    else if (parts.kind == HISTORY_TALLY && ours->value.n == theirs->value.n)
        theirs->value = greater_numbers(mem, ours->value, theirs->value);
    else if (parts.kind == HISTORY_COUNT && history_number(str_upto(ours->value, NUMBER_OCTETS)) >
                                                history_number(str_upto(theirs->value, NUMBER_OCTETS)))
        theirs->value = ours->value;
}

struct str report_tag(struct str key)
{
    struct str domain = str_from(key, HISTORY_DOMAIN_AT);

    return str_upto(domain, str_find(domain, '\0'));
}
