/*
 * cli/explain.h - a decision in words that a postmaster can send to the sender
 *
 * Everything is made of the record alone. What strangers wrote stands in it as it is: cli_print() is for whoever prints it.
 */
#ifndef CLI_EXPLAIN_H
#define CLI_EXPLAIN_H

#include "cli/records.h"

enum { EXPLAIN_BYTES_MAX = 1024 * 1024 };

/* Ends the line that began at out->n == begin. Line ends within it, of a reply of several lines or a stranger's text, become
 * blanks: nobody adds lines of his own to what is told. */
void cli_explain_end_line(struct buf *out, size_t begin);

/* What each check found, in the order of the session, a line each. */
void cli_explain_seen(struct buf *out, const struct decision *decision);

/* One answer of this decision: to a recipient, or (recipient NULL) to the message, the greeting or HELO. What the sender can
 * do about it, a sentence a line; nothing when it was accepted. */
void cli_explain_advice(struct buf *out, const struct decision *decision,
                        const struct decision_recipient *recipient, const struct decision_outcome *outcome);

/* The settings that made this answer what it is: up to EXPLAIN_KEYS_MAX keys, NULL behind the last. */
enum { EXPLAIN_KEYS_MAX = 4 };
struct cli_explain_keys {
    const char *keys[EXPLAIN_KEYS_MAX + 1];
};
struct cli_explain_keys cli_explain_keys(const struct decision *decision,
                                         const struct decision_outcome *outcome);

/* Which lists have it: of the client's address, of the session's names, of the one in From. NULL: no more. */
const struct dnsbl_hit *cli_explain_listing(const struct decision *decision, size_t number);

#endif
