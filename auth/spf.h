/*
 * auth/spf.h - may this host speak for this domain?              RFC 7208
 *
 * Ownership  All memory comes from `mem` (the arena of the session or of the
 *            transaction); nothing is freed piece by piece. The strings in
 *            `ask` are borrowed and must live as long as `mem`.
 * Timing     `done` runs exactly once, never before spf_start() has returned,
 *            and never after spf_cancel(). The caller has the deadline of 20 s.
 * Limits     10 querying terms, 2 void lookups, 10 names of an mx or ptr; beyond that SPF_PERMERROR
 *            (RFC 7208 4.6.4). Macro expansions are bounded by the length of a name.
 * Errors     None to return: DNS trouble is SPF_TEMPERROR and a broken record
 *            is SPF_PERMERROR. Both are answers (RFC 7208 2.6), not failures.
 * Trace      When `ask` wants it, the answer tells every step of the evaluation, of SPF_STEPS_MAX at the most.
 *            Nobody else pays for it but with a look at a pointer.
 */
#ifndef AUTH_SPF_H
#define AUTH_SPF_H

#include "base/mode.h"
#include "dns/dns.h"

enum spf_result { SPF_NONE, SPF_NEUTRAL, SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_TEMPERROR, SPF_PERMERROR };
enum spf_scope { SPF_HELO, SPF_MFROM };

struct spf_settings {
    enum mode mode;
    enum on_event on_fail, on_softfail, on_temperror, on_permerror;
};

struct spf_ask {
    struct ip client;
    const char *helo;        /* as the client said it */
    const char *mail_from;   /* "" for the null sender: postmaster@helo is checked then (RFC 7208 2.4) */
    enum spf_scope scope;    /* SPF_HELO: mail_from is not looked at */
    const char *receiver;    /* %{r}: our own name */
    const char *client_name; /* verified host name for %{p}, or NULL: looked up when a macro needs it */
    int64_t now_unix;        /* %{t} */
    bool trace;              /* tell the steps */
};

/* ---- the steps of an evaluation ---- */

enum { SPF_STEPS_MAX = 500, SPF_SHOWN_ANSWERS_MAX = 10 };

/* One question of a step to the DNS. */
struct spf_lookup {
    const struct spf_lookup *next;
    const char *name;
    enum dns_type type;
    enum dns_status status;
    bool cached;
    size_t count;                               /* of the records in the answer */
    const char *answers[SPF_SHOWN_ANSWERS_MAX]; /* the first of them, as text; printable and bounded */
};

enum spf_step_outcome {
    SPF_STEP_UNFINISHED, /* what it asked for had not come when time was up */
    SPF_STEP_FOUND,      /* a record, an explanation */
    SPF_STEP_NONE,       /* neither */
    SPF_STEP_MATCH,
    SPF_STEP_NO_MATCH,
    SPF_STEP_FOLLOWED, /* a redirect */
    SPF_STEP_IGNORED,  /* a modifier that nobody knows */
    SPF_STEP_ERROR,    /* it ended the evaluation: the answer's result and reason say how */
};

/* A record that is fetched, or a term of it that is evaluated. Steps stand in the order in which they
 * began: what an include leads to follows it, one deeper. */
struct spf_step {
    const struct spf_step *next;
    unsigned depth;     /* 0 in the first record, and in what it redirects to */
    const char *domain; /* whose record this is, or stands in */
    const char *term;   /* "mx:example.org", "redirect=…", "exp=…"; NULL: the record itself */
    const char *target; /* the name asked about, macros filled in; NULL: none */
    enum spf_step_outcome outcome;
    unsigned lookups, void_lookups; /* as counted when it ended */
    const struct spf_lookup *asked; /* what it asked the DNS itself; NULL: nothing */
};

struct spf_trace {
    const struct spf_step *steps;
    size_t left_out; /* steps beyond SPF_STEPS_MAX */
};

struct spf_answer {
    enum spf_result result;
    enum spf_scope scope;
    const char *domain;      /* whose record was asked for first */
    const char *mechanism;   /* the term that matched, as in the record ("ip4:192.0.2.0/24"); "default" when
                                none did; NULL without a record */
    const char *explanation; /* expanded exp= text on fail, else "" */
    unsigned lookups, void_lookups; /* as counted by RFC 7208 4.6.4 */
    const char *reason;             /* one sentence for the log and for people */
    const struct spf_trace *trace;  /* NULL unless asked for */
};

struct spf_query; /* opaque: one evaluation in flight */
typedef void spf_done_fn(const struct spf_answer *answer, void *arg);

struct spf_query *spf_start(struct arena *mem, struct dns *dns, const struct spf_ask *ask, spf_done_fn *done,
                            void *arg);
void spf_cancel(struct spf_query **query); /* NULL is fine; leaves NULL */
/* The deadline has passed: what is known now, else temperror. `done` will not run; leaves NULL. */
const struct spf_answer *spf_finish(struct spf_query **query);
const char *spf_result_name(enum spf_result r);             /* "softfail", RFC 8601 2.7.2 */
const char *spf_scope_name(enum spf_scope s);               /* "helo", "mfrom" */
const char *spf_step_outcome_name(enum spf_step_outcome o); /* "no match" */

#endif
