/*
 * auth/dmarc_walk.h - up the DNS tree, from a name to its organisational domain      RFC 9989 4.10
 *
 * What one walk has learnt of a name serves all later ones (`known`): no name is asked twice for a message.
 * Limits  8 queries a walk; record texts are kept only where `keep_text` says so.
 */
#ifndef AUTH_DMARC_WALK_H
#define AUTH_DMARC_WALK_H

#include "dns/dns.h"

enum { DMARC_WALK_QUERIES = 8 };

enum dmarc_known_state { DMARC_KNOWN_NOTHING, DMARC_KNOWN_RECORD, DMARC_KNOWN_TROUBLE };

/* What stands at _dmarc.NAME. */
struct dmarc_known {
    const char *name; /* without "_dmarc." */
    enum dmarc_known_state state;
    char psd;        /* of a record: 'y', 'n', 'u' */
    bool exists;     /* the answer showed that the name exists */
    struct str text; /* of a record, when kept */
    const struct dmarc_known *next;
};

struct dmarc_walk;
typedef void dmarc_walk_fn(struct dmarc_walk *walk);

/* Filled in by its owner: mem, dns, keep_text, done, owner, and `known` with what is known already. */
struct dmarc_walk {
    struct arena *mem;
    struct dns *dns;
    bool keep_text;
    dmarc_walk_fn *done;
    void *owner;
    const struct dmarc_known *known;
    const char *start, *at; /* at: where it waits or has stopped; NULL beyond the last label */
    struct dns_token *pending;
    const char *asked[DMARC_WALK_QUERIES]; /* "_dmarc.…", of this walk, in order */
    size_t asked_count;
};

/* `start`: lower case, no final dot, lives as long as mem. True: all was known, the walk is over and `done`
 * will not be called. False: `done` will be, once, as the walk's last act. */
bool dmarc_walk_go(struct dmarc_walk *walk, const char *start);
void dmarc_walk_cancel(struct dmarc_walk *walk);

/* Of a walk that is over: */
bool dmarc_walk_has_trouble(const struct dmarc_walk *walk); /* the DNS did not answer for walk->at */
const char *dmarc_walk_org(const struct dmarc_walk *walk);  /* RFC 9989 4.10.2 */
const struct dmarc_known *dmarc_walk_find(const struct dmarc_known *known, const char *name); /* or NULL */

#endif
