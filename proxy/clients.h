/*
 * proxy/clients.h - what is known of client hosts across sessions and threads: how many connections, how
 * fast, how well behaved
 *
 * A client is an IPv4 address or an IPv6 /64. One table for the process, in slices with a lock each.
 * Limits  CLIENTS_MAX hosts; beyond it the one that was seen least recently and has no connection open makes
 *         room.
 */
#ifndef PROXY_CLIENTS_H
#define PROXY_CLIENTS_H

#include "base/ip.h"
#include "config/config.h"

enum { CLIENTS_MAX = 200000 };

struct clients;

enum clients_refusal { CLIENT_WELCOME, CLIENT_TOO_MANY_CONNECTIONS, CLIENT_TOO_FAST, CLIENT_SERVER_FULL };

struct clients *clients_new(void);
void clients_free(struct clients **clients);

/* Counts a new connection, or refuses it. Every welcome is followed by one clients_leave(). */
enum clients_refusal clients_enter(struct clients *clients, const struct limit_settings *limits,
                                   const struct ip *ip, int64_t now_ms);
void clients_leave(struct clients *clients, const struct ip *ip);

/* How many new connections of a client are to be told to other hosts (proxy/rate.h), when a sixteenth of the limit has come
 * since the last time; else 0. What was heard of the others counts with ours, fading for as long as the window lasts. */
unsigned clients_to_tell(struct clients *clients, const struct limit_settings *limits, const struct ip *ip);
void clients_heard(struct clients *clients, const struct ip *ip, unsigned elsewhere, int64_t now_ms);

/* A host that behaved needs no waiting at the banner: it has once delivered mail that was accepted. */
void clients_praise(struct clients *clients, const struct ip *ip, int64_t now_ms);
bool clients_is_good(struct clients *clients, const struct ip *ip, int64_t now_ms);

/* Container truth: behind a NAT gateway all the world arrives from one private address (a Docker bridge,
 * say), and whatever the DNS says about that address says nothing about a client. Notes a HELO name and
 * answers whether this address is such a gateway: private, and greeted with more than CLIENTS_GATEWAY_NAMES
 * unrelated names. */
enum { CLIENTS_GATEWAY_NAMES = 8 };
bool clients_note_helo(struct clients *clients, const struct ip *ip, const char *helo);

unsigned clients_connections(const struct clients *clients);

#endif
