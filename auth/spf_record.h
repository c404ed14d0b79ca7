/*
 * auth/spf_record.h - an SPF record, read into its terms                     RFC 7208 4.5, 4.6.1, 12
 *
 * A record is read twice: once whole, because an error anywhere in it is an error (4.6), and once term by
 * term as the evaluation comes to them. So nothing is kept but the text, whatever its size.
 *
 * Ownership  All views point into the record's text. Limits: SPF_RECORD_MAX octets.
 */
#ifndef AUTH_SPF_RECORD_H
#define AUTH_SPF_RECORD_H

#include "auth/spf.h"

enum { SPF_RECORD_MAX = 16 * 1024 };

enum spf_term_kind {
    SPF_TERM_ALL,
    SPF_TERM_INCLUDE,
    SPF_TERM_A,
    SPF_TERM_MX,
    SPF_TERM_PTR,
    SPF_TERM_IP4,
    SPF_TERM_IP6,
    SPF_TERM_EXISTS,
    SPF_TERM_REDIRECT,
    SPF_TERM_EXP,
    SPF_TERM_UNKNOWN, /* a modifier nobody knows: ignored (RFC 7208 6) */
};

struct spf_term {
    enum spf_term_kind kind;
    enum spf_result result;     /* of a mechanism that matches: + - ~ ? */
    struct str text;            /* as in the record, with its qualifier */
    struct str domain;          /* domain-spec, unexpanded; empty: the current domain */
    unsigned char bits4, bits6; /* of a and mx */
    struct net net;             /* of ip4 and ip6 */
};

bool spf_record_is_one(struct str txt); /* "v=spf1" and a space or the end (RFC 7208 4.5) */

struct spf_record {
    struct str terms;    /* what follows the version */
    struct str redirect; /* domain-specs; empty: none */
    struct str exp;
};

/* Checks all of a record. false: a syntax error in bad_out (a view of the term), and why. */
bool spf_record_parse(struct str txt, struct spf_record *record_out, struct str *bad_out,
                      const char **why_out);

enum spf_next { SPF_NEXT_TERM, SPF_NEXT_END, SPF_NEXT_BAD };
enum spf_next spf_term_next(struct str *terms, struct spf_term *term_out, const char **why_out);

#endif
