/*
 * cli/sink_message.h - one message on its way into the sink's maildir
 *
 * Bytes behind DATA go in in any pieces. Transparency dots are removed, CRLF.CRLF ends it (RFC 5321 4.5.2),
 * and all else, bare CR and LF too, is written as it came: the sink is a witness and has a decoder of its
 * own, so that a fault of smtp/data.c does not hide itself.
 */
#ifndef CLI_SINK_MESSAGE_H
#define CLI_SINK_MESSAGE_H

#include "base/buf.h"
#include "base/fail.h"

struct sink_message;

enum { SINK_MESSAGE_MAX = 50 * 1024 * 1024 };

/* Makes DIR/tmp/… and writes the lines of the envelope to it. NULL and a fail when it cannot. */
struct sink_message *sink_message_new(const char *maildir, struct str envelope, struct fail *fail);

/* Returns how many bytes belonged to the message and its end; *ended_out tells whether the end came. */
size_t sink_message_add(struct sink_message *message, struct str bytes, bool *ended_out);

bool sink_message_is_too_big(const struct sink_message *message);

/* Moves it to DIR/new/. -1 and a fail when that, or any write before, went wrong. */
int sink_message_keep(struct sink_message *message, struct fail *fail);

void sink_message_free(struct sink_message **message); /* one that was not kept is gone; NULL is fine */

int sink_maildir_make(const char *maildir, struct fail *fail); /* with its tmp, new and cur */

#endif
