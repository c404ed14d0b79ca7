/*
 * grey/policy.h - what greylisting decides, and what it remembers
 *
 * Pure: no store, no clock. Two rows are remembered: one of the triple (client, sender, recipient), one of
 * the client.
 * Times    A stamp that lies in the future (the clock was set back) counts as now: at worst a delay begins
 *          anew. Intervals are closed below and open above: at `delay` a retry passes, at `window` and at
 *          `keep` all is forgotten.
 * Rows     Text, so that an operator can read them: "T <first> <passed> <last>", "C <count> <counted> <last>", and
 *          "A <since>" for a client that an operator allowed. What does not read so is treated as if it were not there.
 */
#ifndef GREY_POLICY_H
#define GREY_POLICY_H

#include "grey/grey.h"

struct grey_rules {
    int64_t delay_s, window_s, keep_s;
    unsigned allow_after; /* 0: clients are never trusted */
};

struct grey_rules grey_rules_of(const struct grey_settings *settings);

/* first_unix 0: never seen. passed_unix 0: it has yet to come again. */
struct grey_triple {
    int64_t first_unix, passed_unix, last_unix;
};

/* Deliveries that passed, at most one an hour: a burst proves no more than one message does. */
struct grey_deliveries {
    unsigned count;
    int64_t counted_unix, last_unix;
    bool allowed; /* by an operator, since counted_unix: for ever, and nothing else is kept */
};

struct grey_memory {
    struct grey_triple triple;
    struct grey_deliveries client;
};

struct grey_answer grey_step(const struct grey_rules *rules, int64_t now_unix, struct grey_memory *memory);

/* False, and all zero, when it is no such row. */
bool grey_unpack_triple(struct str value, struct grey_triple *triple_out);
bool grey_unpack_deliveries(struct str value, struct grey_deliveries *client_out);
struct store_row grey_pack_triple(struct arena *mem, const struct grey_rules *rules,
                                  const struct grey_triple *triple);
struct store_row grey_pack_deliveries(struct arena *mem, const struct grey_rules *rules,
                                      const struct grey_deliveries *client);

#endif
