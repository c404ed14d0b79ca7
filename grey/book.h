/*
 * grey/book.h - the greylist as its operator sees it: read, changed by hand, filled with another program's rows
 *
 * Names      An operator names a client by an address, a network, a domain, or by its identity as the log and the
 *            lists show it ("spf:example.org"). An address stands for its whole network, a domain for whoever SPF
 *            passed for it and, when it is a host's owner (grey_owner_domain()), for its hosts.
 * Changes    Each is one update of the store, so a running daemon sees it with its next question; `done` as
 *            store_update() says, its result a bool: did anything change?
 * Ownership  An entry and what it points to live until each() has returned.
 */
#ifndef GREY_BOOK_H
#define GREY_BOOK_H

#include "grey/policy.h"

enum { GREY_BOOK_NAMES_MAX = 2 };

/* The identities that a name stands for, and how many; -1 when it is no name of a client. */
int grey_book_names(struct arena *mem, const struct grey_settings *settings, struct str name,
                    const char *identities_out[GREY_BOOK_NAMES_MAX], struct fail *fail);

enum grey_book_state {
    GREY_BOOK_WAITING, /* a triple that has yet to come again */
    GREY_BOOK_PASSED,  /* a triple that did */
    GREY_BOOK_COUNTED, /* a client whose deliveries are counted */
    GREY_BOOK_TRUSTED, /* one that passed allow_after times */
    GREY_BOOK_ALLOWED, /* one that an operator allowed */
};
enum { GREY_BOOK_STATES = GREY_BOOK_ALLOWED + 1 };

/* Of a key beyond GREY_KEY_MAX the tail, and so perhaps the addresses, are a hash. */
struct grey_book_entry {
    struct str key;
    struct str client, sender, recipient; /* normalised; no addresses in a client's own entry */
    bool is_triple;
    struct grey_memory memory; /* of a triple its triple, else its client */
    enum grey_book_state state;
    int64_t until_unix; /* then it is forgotten; 0: never */
};

/* Entries of one identity, or of all (NULL), each client's before those of its triples; what is forgotten by now_unix,
 * and rows that are no entries, are left out. */
typedef bool grey_book_each_fn(const struct grey_book_entry *entry, void *arg); /* false: enough */
int grey_book_each(struct store *store, const struct grey_settings *settings, const char *identity,
                   int64_t now_unix, grey_book_each_fn *each, void *arg, struct fail *fail);

void grey_book_allow(struct store *store, struct loop *loop, const char *identity, int64_t now_unix,
                     store_done_fn *done, void *arg);
void grey_book_forget(struct store *store, struct loop *loop, struct str key, store_done_fn *done, void *arg);

/* Adds what another program remembered: of each row what holds longer, so that a second time changes nothing.
 * What has expired by now_unix stays out. */
void grey_book_merge(struct store *store, struct loop *loop, const struct grey_settings *settings,
                     struct str key, bool is_triple, const struct grey_memory *memory, int64_t now_unix,
                     store_done_fn *done, void *arg);

const char *grey_book_state_name(enum grey_book_state state); /* "waiting", "passed", "counted", … */

#endif
