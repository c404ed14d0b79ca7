/*
 * proxy/session.h - one client's visit, from connect to goodbye
 *
 * proxy/session.c tells its life in one table. A session lives and dies on its worker's thread; nothing
 * outside moves it but session_start(), session_drain() and session_end().
 */
#ifndef PROXY_SESSION_H
#define PROXY_SESSION_H

#include "proxy/service.h"

/* Takes the descriptor. Refused by the limits, the client gets its 421 and there is no session. */
void session_start(struct service *service, const struct listen_settings *listen, int fd,
                   const struct endpoint *peer);

/* 421 to those at rest; the others finish their transaction first. */
void session_drain(struct session *session);
void session_end(struct session *session, const char *why);
struct session *session_next(const struct session *session); /* of the service's list */
/* What it is doing: a moment of its life, or between them "transaction" or "idle"; "proxy" before its PROXY header. */
const char *session_moment(const struct session *session);

#endif
