/*
 * report/merge.h - the rows of the history where hosts share them (store/store.h, struct store_table)
 *
 * Each origin's counters only grow, and only that host counts them: of two states the greater is the later
 * one. So a row may be merged any number of times, and each message is counted once.
 */
#ifndef REPORT_MERGE_H
#define REPORT_MERGE_H

#include "store/store.h"

store_merge_fn report_merge;
struct str report_tag(struct str key); /* the domain */

#endif
