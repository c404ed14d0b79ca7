/*
 * auth/dmarc.h - does anything vouch for the From domain, and what does its owner ask for?   RFC 9989
 *
 * Two steps. Discovery (dmarc_start) walks the DNS tree for the policy of the From domain, and for the
 * organisational domain that relaxed alignment needs. Alignment (dmarc_align_start) compares it with what
 * passed.
 *
 * Ownership  Memory from `mem`.
 * Timing     `done` exactly once, never before the start has returned, never after cancel.
 * Limits     8 queries a walk (RFC 9989 4.10), a walk for each identifier that names alone do not decide, no
 *            name asked twice. Records longer than 8 KiB are none.
 */
#ifndef AUTH_DMARC_H
#define AUTH_DMARC_H

#include "auth/dkim.h"
#include "auth/spf.h"

enum dmarc_result { DMARC_NONE, DMARC_PASS, DMARC_FAIL, DMARC_TEMPERROR, DMARC_PERMERROR };
enum dmarc_policy { DMARC_POLICY_NONE, DMARC_POLICY_QUARANTINE, DMARC_POLICY_REJECT };
enum dmarc_reject { DMARC_REJECT_EVIDENCE, DMARC_REJECT_ALWAYS, DMARC_REJECT_NEVER };
enum dmarc_quarantine { DMARC_QUARANTINE_MARK, DMARC_QUARANTINE_REJECT };

struct dmarc_settings {
    enum mode mode;
    enum dmarc_reject reject;
    enum dmarc_quarantine quarantine;
    enum on_event on_temperror;
    enum on_event from_invalid; /* ON_MARK or ON_REJECT */
};

struct dmarc_record {
    enum dmarc_policy policy, subdomain_policy, nonexistent_policy; /* sp= and np= have fallen back */
    bool testing;                                                   /* t=y */
    bool adkim_strict, aspf_strict;
    char psd;               /* 'y', 'n', or 'u' */
    const char *const *rua; /* URIs as published, unchecked */
    size_t rua_count;
    const char *const *ruf;
    size_t ruf_count;
    const char *fo;
    struct str text; /* as published */
};

enum dmarc_found { DMARC_FOUND, DMARC_NOT_FOUND, DMARC_FOUND_TEMPERROR, DMARC_FOUND_PERMERROR };

struct dmarc_discovery {
    enum dmarc_found found;
    const char *from_domain;
    bool from_exists;                  /* false: NXDOMAIN, so np= applies; true where nobody had to ask */
    const char *record_domain;         /* where the record was, or NULL */
    const char *org_domain;            /* of the From domain */
    const struct dmarc_record *record; /* NULL: none; of a temperror the author domain's own, if it came */
    const char *const *queries;        /* names asked for TXT, in order */
    size_t queries_count;
    const char *reason;
    const struct dmarc_known *known; /* what the walk has learnt, for dmarc_align_start; may be NULL */
};

/* An authenticated identifier, to be compared with the From domain. */
struct dmarc_identifier {
    const char *domain;
    bool is_spf;
};

struct dmarc_evaluation {
    enum dmarc_result result;
    enum dmarc_policy policy; /* what applies to this message: p, sp or np, lowered by t=y */
    bool spf_aligned, dkim_aligned;
    const char *reason;
};

/* The one domain of the From field (RFC 9989 5.3.1), or NULL: no field, several, several domains, an address literal, or
 * not valid in a way that lets readers differ about the domain. `*why_out` is a sentence then, else "". */
const char *dmarc_from_domain(struct arena *mem, const struct header *header, const char **why_out);

struct dmarc_query;
typedef void dmarc_found_fn(const struct dmarc_discovery *discovery, void *arg);

/* `from_domain`: lower-case A-labels (smtp/mailbox.h). */
struct dmarc_query *dmarc_start(struct arena *mem, struct dns *dns, const char *from_domain,
                                dmarc_found_fn *done, void *arg);
void dmarc_cancel(struct dmarc_query **query);

/* The second step needs the organisational domains of the identifiers that passed (relaxed alignment):
 * dmarc_align_start asks for those that names alone do not decide; each walk is shared with the ones before.
 * `ask` is copied; what it points to lives until the answer. */
struct dmarc_ask {
    const struct dmarc_discovery *discovery;
    const struct spf_answer *spf;   /* of MAIL FROM (or of HELO for the null sender); NULL: not checked */
    const struct dkim_answer *dkim; /* NULL: not checked */
};
struct dmarc_alignment; /* opaque: in flight */
typedef void dmarc_done_fn(const struct dmarc_evaluation *evaluation, void *arg);
struct dmarc_alignment *dmarc_align_start(struct arena *mem, struct dns *dns, const struct dmarc_ask *ask,
                                          dmarc_done_fn *done, void *arg);
void dmarc_align_cancel(struct dmarc_alignment **alignment);

/* Pure parts, for tables and fuzzers. */
const struct dmarc_record *dmarc_record_parse(struct arena *mem, struct str text,
                                              const char **why_out); /* NULL: no DMARC record */

const char *dmarc_result_name(enum dmarc_result r);
const char *dmarc_policy_name(enum dmarc_policy p);
const char *dmarc_found_name(enum dmarc_found f); /* "found", "none", "temperror", "permerror" */

#endif
