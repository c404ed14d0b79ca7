/*
 * proxy/reporter.h - sends the aggregate reports of each day, on a thread of its own
 *
 * Reading a day's rows blocks, so neither a worker nor the main loop does it. At `reports.aggregate.at` (UTC)
 * the day that has ended is reported; what could not be sent then is tried again every hour, and whoever was off
 * at that time catches up (report/schedule.h).
 */
#ifndef PROXY_REPORTER_H
#define PROXY_REPORTER_H

#include "config/config.h"

struct reporter;

/* Takes references of config and keyring (NULL: reports leave unsigned). The store is shared. */
struct reporter *reporter_start(const struct config *config, struct dkim_keyring *keyring,
                                struct store *store, struct fail *fail);
void reporter_stop(struct reporter *reporter); /* before store_close() */
void reporter_free(
    struct reporter **reporter); /* after it: answers may be on their way; NULL is fine; leaves NULL */

#endif
