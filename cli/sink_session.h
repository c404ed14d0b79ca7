/*
 * cli/sink_session.h - the sessions of the sink: an SMTP server that takes everything
 *
 * Ownership  A session ends itself with its connection; sink_end_sessions() ends those that are left.
 * Limits     1,000 connections and 1,000 recipients a message; 50 MiB a message.
 */
#ifndef CLI_SINK_SESSION_H
#define CLI_SINK_SESSION_H

#include "base/ip.h"
#include "base/loop.h"

enum { SINK_CONNECTIONS = 1000, SINK_PATTERNS = 16 };

/* As of a shell ("*@later.test"), without regard to case. */
struct sink_patterns {
    const char *text[SINK_PATTERNS];
    size_t count;
};

struct sink_settings {
    struct endpoint listen;
    const char *maildir, *port_file;
    struct sink_patterns reject, defer;
    unsigned reply_code; /* instead of taking the message; 0: it is taken */
    int64_t delay_ms;    /* before the reply to the message */
    bool no_pipelining, no_xclient, close_after_dot, json;
};

struct sink_session;

struct sink {
    struct loop *loop;
    const struct sink_settings *settings;
    struct sink_session *sessions;
    unsigned connections;
    unsigned long kept; /* messages */
};

void sink_accept(int fd, const struct endpoint *peer, void *sink); /* a listener_fn */
void sink_end_sessions(struct sink *sink);

#endif
