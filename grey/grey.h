/*
 * grey/grey.h - greylisting: strangers are asked to come again
 *
 * The policy is pure: grey_step() sees what is remembered and the time, and says what happens and what
 * to remember. grey_start() asks the store to do that atomically. Nothing here knows SQL, sockets or clocks.
 *
 * Identity  The key of a client is the domain that SPF passed for, else the organisational domain of its
 *           verified host name, else its /24 or /64: a large sender that retries from another address is
 *           still itself. A host name that spells its own address (198-51-100-7.dynamic.example.net) says who
 *           owns the network, not who sends: such a client is known by its network.
 *           One who would have to wait is looked up once more by its network alone: it may have come before its names
 *           were known (no SPF record yet, a DNS that failed), or with postgrey's rows, which know only networks.
 * Keys      In the table GREY_TABLE: grey_key() for a triple, the bare identity for what is known of the
 *           client.
 */
#ifndef GREY_GREY_H
#define GREY_GREY_H

#include "base/ip.h"
#include "base/mode.h"
#include "grey/allow.h"
#include "store/store.h"

enum grey_when { GREY_SUSPICIOUS, GREY_ALWAYS };

struct grey_settings {
    enum mode mode;
    enum grey_when when;
    int64_t delay_s, window_s, keep_s;
    unsigned allow_after;
    unsigned ipv4_prefix, ipv6_prefix;
    enum grey_when null_sender; /* for bounces, MAIL FROM:<> */
    const struct grey_allow *allow;
    size_t allow_count;
    const struct grey_allow_recipient *allow_recipients;
    size_t allow_recipients_count;
    const char **files; /* that the lists were read from, to be watched */
    size_t files_count;
};

/* "spf:example.org", "host:example.org", "net:192.0.2.0/24"; grey_network_identity(): always the last. */
const char *grey_identity(struct arena *mem, const struct grey_settings *settings,
                          const struct grey_client *client);
const char *grey_network_identity(struct arena *mem, const struct grey_settings *settings,
                                  const struct ip *ip);
/* The domain of whoever owns a host, by a rule of thumb: "example.org" of "mail.example.org". */
struct str grey_owner_domain(struct str host);
bool grey_is_allowed(const struct grey_settings *settings, const struct grey_client *client,
                     struct str recipient);

enum grey_verdict {
    GREY_NEW,       /* first seen: come again after the delay */
    GREY_EARLY,     /* came again too soon */
    GREY_PASSED,    /* came again in time: passes, now and from here on */
    GREY_KNOWN,     /* had passed before */
    GREY_TRUSTED,   /* this client passed often enough: not asked any more */
    GREY_ALLOWED,   /* an operator allowed this client */
    GREY_UNANSWERED /* the store did not answer: passes, and is said so */
};

struct grey_answer {
    enum grey_verdict verdict;
    int64_t wait_s;     /* NEW, EARLY: seconds until it would pass */
    int64_t first_unix; /* when it was first seen */
};

struct grey_ask {
    const char *identity;
    const char *network;          /* grey_network_identity() */
    struct str sender, recipient; /* envelope addresses as written; normalised here */
    int64_t now_unix;
};

/* "identity NUL sender NUL recipient", normalised; beyond GREY_KEY_MAX the tail is a hash of the whole. */
#define GREY_TABLE "grey"
enum { GREY_KEY_MAX = 400 };
struct str grey_key(struct arena *mem, const char *identity, struct str sender, struct str recipient);
struct str grey_client_key(struct arena *mem, const char *identity);

struct grey_query;
typedef void grey_done_fn(const struct grey_answer *answer, void *arg);
/* settings live longer than the query; `done` exactly once, later; the caller has the deadline. */
struct grey_query *grey_start(struct arena *mem, struct store *store, struct loop *loop,
                              const struct grey_settings *settings, const struct grey_ask *ask,
                              grey_done_fn *done, void *arg);
void grey_cancel(struct grey_query **query);

/* "new", "early", "passed", "known", "trusted", "allowed", "unanswered" */
const char *grey_verdict_name(enum grey_verdict verdict);
bool grey_must_wait(enum grey_verdict verdict); /* NEW, EARLY */

#endif
