/*
 * auth/spf_query.h - an evaluation in flight, for the files of the SPF module alone      RFC 7208 4
 *
 * spf.c walks through the records, spf_host.c finds the client's names, spf_trace.c writes down the steps.
 */
#ifndef AUTH_SPF_QUERY_H
#define AUTH_SPF_QUERY_H

#include "auth/spf.h"
#include "auth/spf_macro.h"
#include "auth/spf_record.h"

/* RFC 7208 4.6.4 */
enum { SPF_LOOKUPS_MAX = 10, SPF_VOID_LOOKUPS_MAX = 2, SPF_NAMES_MAX = 10 };

/* SPF_PAUSE: a question is out, or `done` was called and the query may be gone. Touch nothing more. */
enum spf_outcome { SPF_MATCH, SPF_NO_MATCH, SPF_PAUSE };

typedef enum spf_outcome spf_step_fn(struct spf_query *q);
/* `q->pending` is spent already. */
typedef void spf_answer_fn(struct spf_query *q, const struct dns_answer *answer);

struct spf_frame {
    struct spf_frame *caller; /* the record whose include brought us here; NULL: the first */
    const char *domain;       /* %{d}; a redirect changes it */
    bool redirected;
    struct spf_record record;            /* its terms are consumed */
    struct spf_term term;                /* the one being evaluated */
    struct spf_step *step;               /* of the trace: what is being done with this record, or NULL */
    const struct spf_lookup **asked_end; /* where the step's next question belongs */
};

/* A name that the client's address points to (RFC 7208 5.5). */
struct spf_host {
    const char *name;
    enum { SPF_HOST_UNCHECKED, SPF_HOST_VALID, SPF_HOST_INVALID, SPF_HOST_VOID } state;
};

struct spf_query {
    struct arena *mem;
    struct dns *dns;
    struct dns_token *pending; /* the one lookup in flight, or NULL */
    spf_answer_fn *on_answer;  /* who waits for it */
    spf_done_fn *done;
    void *arg;
    struct spf_answer answer;
    struct spf_values values;
    const char *client_name;
    struct spf_frame *top;
    const struct spf_frame *decided; /* whose own term matched, below the includes */
    bool term_is_void;               /* this term had a void lookup already */
    bool explaining;                 /* the result is there: nothing is counted any more */
    struct str explanation;          /* unexpanded */

    const char *names[SPF_NAMES_MAX]; /* of an a or mx, in the order to be asked */
    size_t names_count, names_at;

    struct spf_host hosts[SPF_NAMES_MAX];
    size_t hosts_count;
    bool hosts_asked, hosts_void;
    struct spf_host *checking;
    const char *wanted; /* domain that the host should be in */
    bool any_host;      /* %{p}: else any other will do */
    spf_step_fn *then;  /* continues with `host`, NULL when there is none */
    const char *host;

    struct spf_notes *notes; /* the trace as it grows, or NULL: nobody wants one */
};

/* spf.c: goes on with what a step led to, until there is something to wait for. */
void spf_go_on(struct spf_query *q, enum spf_outcome outcome);
enum spf_outcome spf_ask_dns(struct spf_query *q, enum dns_type type, const char *name,
                             spf_answer_fn *on_answer);
enum spf_outcome spf_ask_address(struct spf_query *q, const char *name, spf_answer_fn *on_answer);
bool spf_is_over_lookups(struct spf_query *q);
bool spf_is_over_voids(struct spf_query *q, const struct dns_answer *answer);

/* spf_host.c: looks for a validated name of the client in `wanted`, or in any domain; then continues. */
enum spf_outcome spf_find_host(struct spf_query *q, const char *wanted, bool any, spf_step_fn *then);
/* Continues when all that the macros of `text` need is known. */
enum spf_outcome spf_with_host(struct spf_query *q, struct str text, enum spf_macro_use use,
                               spf_step_fn *then);

/* Names and terms come from outside: what is shown is ASCII and bounded. */
const char *spf_printable(struct arena *mem, struct str s, size_t most);

/* spf_trace.c; without a trace they do nothing. Every frame has one step at a time, which the next one, or
 * the end of the evaluation, closes. */
void spf_trace_begin(struct spf_query *q);
void spf_trace_record(struct spf_query *q);                                    /* is asked for */
void spf_trace_term(struct spf_query *q, const char *prefix, struct str text); /* "redirect=", value */
void spf_trace_target(struct spf_query *q, const char *name);                  /* of the step on top */
void spf_trace_answer(struct spf_query *q, const struct dns_answer *answer);   /* to the step on top */
void spf_trace_outcome(struct spf_query *q, enum spf_step_outcome outcome);    /* closes the step on top */
void spf_trace_end(struct spf_query *q, enum spf_step_outcome outcome);        /* closes all of them */

#endif
