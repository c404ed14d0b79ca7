#include "proxy/tables.h"

#include "grey/grey.h"
#include "grey/merge.h"
#include "proxy/partial.h"
#include "proxy/rate.h"
#include "report/merge.h"

/* A day of a million rows, with the days around it. */
enum { HISTORY_ROWS = 2000000 };

/* What holds longer: good behaviour (proxy/history.c); who has a message (proxy/partial.c); and what a backend said to a
 * recipient (proxy/recipients.c), where one that was once accepted is rather asked to come again than refused. */
static void merge_later(struct arena *mem, struct str key, const struct store_row *ours,
                         struct store_row *theirs)
{
    (void)mem, (void)key;
    if (theirs->value.n == 0 || ours->expires_unix > theirs->expires_unix)
        *theirs = *ours;
}

static const struct store_table tables[] = {
    {.name = GREY_TABLE, .merge = grey_merge, .spread = STORE_BY_TAG, .tag = grey_tag, .heaped = true},
    {.name = "client", .merge = merge_later, .heaped = true},
    {.name = "recipient", .merge = merge_later, .heaped = true},
    {.name = PARTIAL_TABLE, .merge = merge_later, .spread = STORE_BY_TAG, .tag = partial_tag},
    {.name = "dmarc", .merge = report_merge, .spread = STORE_BY_GROUP, .tag = report_tag, .rows_max = HISTORY_ROWS},
    /* Without the others a host counts for itself. */
    {.name = RATE_TABLE, .brief = true},
    /* Leases, caps, suppressions and keys: a host that does not see what the others do had better wait. */
    {.name = "report", .spread = STORE_TOGETHER},
};

size_t tables_list(const struct store_table **tables_out)
{
    *tables_out = tables;
    return sizeof(tables) / sizeof(tables[0]);
}

struct store *tables_open(const struct store_settings *settings, const struct clock *clock, struct fail *fail)
{
    struct store_settings with_tables = *settings;

    with_tables.tables_count = tables_list(&with_tables.tables);
    return store_open(&with_tables, clock, fail);
}
