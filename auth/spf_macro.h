/*
 * auth/spf_macro.h - macro strings: reading them, and filling them in        RFC 7208 7
 *
 * One scanner reads the pieces of a macro string; the syntax checks and the expansion both stand on it.
 *
 * Ownership  Results are copied to `mem`; the values are borrowed.
 * Limits     A name keeps its last 253 octets, cut at a label (RFC 7208 7.3); an explanation has at
 *            most SPF_TEXT_MAX octets, a longer one is none. Both are linear in what is put in.
 */
#ifndef AUTH_SPF_MACRO_H
#define AUTH_SPF_MACRO_H

#include "base/ip.h"

enum { SPF_TEXT_MAX = 1024 };

/* Where a macro string stands: an explanation may hold spaces, and %{c} %{r} %{t}; a name may not. */
enum spf_macro_use { SPF_IN_NAME, SPF_IN_EXPLANATION };

struct spf_piece {
    struct str literal; /* of a run of literals, or what %%, %_ and %- stand for; else empty */
    bool is_expand;     /* began with "%" */
    char letter;        /* lower case; 0 for a literal */
    bool escape;        /* the letter was upper case: URL escaping */
    bool reverse;
    unsigned parts;        /* right-hand parts to keep; 0: all */
    struct str delimiters; /* empty: "." */
};

/* Takes the next piece of a macro string that is not empty yet; false: a syntax error. */
bool spf_piece_next(struct str *rest, enum spf_macro_use use, struct spf_piece *piece_out);

bool spf_macro_check(struct str text, enum spf_macro_use use);
bool spf_macro_is_domain_spec(struct str text); /* RFC 7208 7.1: ends in a macro or in a top label */
bool spf_macro_uses(struct str text, enum spf_macro_use use, char letter);

struct spf_values {
    struct str sender;        /* %{s}; local@domain */
    struct str local;         /* %{l} */
    struct str sender_domain; /* %{o} */
    struct str domain;        /* %{d}: the current one */
    struct str helo;          /* %{h} */
    struct str receiver;      /* %{r} */
    struct str host;          /* %{p}; empty: "unknown" */
    struct ip client;         /* %{i} %{v} %{c} */
    int64_t now_unix;         /* %{t} */
};

/* A name to ask the DNS for, without a final dot, or NULL when the text is no such thing: broken, empty,
 * or with octets beyond ASCII (RFC 8616 4: such a local part never matches). */
const char *spf_macro_name(struct arena *mem, struct str domain_spec, const struct spf_values *values);

/* NULL: a syntax error, or too long. Octets that have no place in an SMTP reply become "?". */
const char *spf_macro_explanation(struct arena *mem, struct str text, const struct spf_values *values);

#endif
