/*
 * report/ourselves.h - is this message itself part of the reporting?
 *
 * Two hosts that report about each other's reports do so for ever. What this says true of is not put into the
 * history, and there is no failure report about it.
 */
#ifndef REPORT_OURSELVES_H
#define REPORT_OURSELVES_H

#include "report/aggregate.h"
#include "smtp/header.h"

/* `recipient` is one of the message's. A report that comes, an answer to one of ours, or mail from ourselves.
 */
bool ourselves_is_report_mail(struct arena *mem, const struct header *header, const char *header_from,
                              struct str recipient, const struct report_identity *us);

/* Written by a machine, as it says itself (RFC 3834 5): nobody reads an answer to it. */
bool ourselves_is_automatic(struct arena *mem, const struct header *header);

/* Is this the VERP or the From address of our reports? "d+0123456789abcdef@reports.example.net" */
bool ourselves_is_our_address(struct str address, const struct report_identity *us);

#endif
