/*
 * proxy/reporter.h - sends the aggregate reports of each day, on a thread of its own
 *
 * Reading a day's rows blocks, so neither a worker nor the main loop does it. At `reports.aggregate.at` (UTC)
 * the day that has ended is reported; what could not be sent then is tried again every hour, and whoever was off
 * at that time catches up (report/schedule.h). What lies in the journal is counted first.
 */
#ifndef PROXY_REPORTER_H
#define PROXY_REPORTER_H

#include "config/config.h"
#include "report/journal.h"

struct reporter;

struct reporter *reporter_start(struct store *store, struct journal *journal); /* it waits for settings */
/* These hold from now on, or when the report that is being sent is gone; with reports.aggregate.enabled: false it
 * waits for others. Takes references of both (keyring NULL: reports leave unsigned). */
void reporter_change(struct reporter *reporter, const struct config *config, struct dkim_keyring *keyring);
/* Waits for the report that is being sent, five seconds at the most. Before journal_close() and store_close(); NULL is
 * fine. */
void reporter_stop(struct reporter *reporter);
/* After it: answers may be on their way. NULL is fine; leaves NULL. */
void reporter_free(struct reporter **reporter);

#endif
