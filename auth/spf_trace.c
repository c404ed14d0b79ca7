#include "auth/spf_query.h"

#include <string.h>

/* The trace of an evaluation (spf.h tells what is in it). Who reads it pays for it: with no notes, each of
 * these returns at once. */

enum { TERM_SHOWN_MAX = 255, TEXT_SHOWN_MAX = 1024 };

struct spf_notes {
    struct spf_trace trace;
    const struct spf_step **end; /* of the list */
    size_t count;
};

void spf_trace_begin(struct spf_query *q)
{
    q->notes = ARENA_NEW(q->mem, struct spf_notes);
    q->notes->end = &q->notes->trace.steps;
    q->answer.trace = &q->notes->trace;
}

static unsigned depth_of(const struct spf_frame *frame)
{
    unsigned depth = 0;

    for (; frame->caller != NULL; frame = frame->caller)
        depth++;
    return depth;
}

/* A new step of the record on top, or NULL: not wanted, or one too many. */
static struct spf_step *add_step(struct spf_query *q)
{
    struct spf_step *step;

    if (q->notes == NULL)
        return NULL;
    q->top->step = NULL;
    if (q->notes->count == SPF_STEPS_MAX) {
        q->notes->trace.left_out++;
        return NULL;
    }
    q->notes->count++;
    step = ARENA_NEW(q->mem, struct spf_step);
    step->depth = depth_of(q->top);
    step->domain = spf_printable(q->mem, str_of(q->top->domain), DNS_NAME_MAX);
    *q->notes->end = step;
    q->notes->end = &step->next;
    q->top->step = step;
    q->top->asked_end = &step->asked;
    return step;
}

void spf_trace_record(struct spf_query *q)
{
    struct spf_step *step = add_step(q);

    if (step != NULL)
        step->target = step->domain;
}

void spf_trace_term(struct spf_query *q, const char *prefix, struct str text)
{
    struct spf_step *step = add_step(q);
    const char *whole;

    if (step == NULL)
        return;
    whole = str_fmt(q->mem, "%s%.*s", prefix, STR_ARG(str_upto(text, TERM_SHOWN_MAX)));
    step->term = spf_printable(q->mem, str_of(whole), TERM_SHOWN_MAX);
}

void spf_trace_target(struct spf_query *q, const char *name)
{
    if (q->top->step != NULL)
        q->top->step->target = spf_printable(q->mem, str_of(name), DNS_NAME_MAX);
}

static const char *record_text(struct arena *mem, enum dns_type type, const struct dns_record *record)
{
    char ip[IP_TEXT_MAX];

    switch (type) {
    case DNS_A:
    case DNS_AAAA:
        return str_dup(mem, str_of(ip_format(&record->ip, ip)));
    case DNS_MX:
        return str_fmt(mem, "%u %s", record->preference, record->name);
    case DNS_TXT:
        return spf_printable(mem, record->text, TEXT_SHOWN_MAX);
    default:
        return str_dup(mem, str_of(record->name));
    }
}

void spf_trace_answer(struct spf_query *q, const struct dns_answer *answer)
{
    struct spf_lookup *lookup;

    if (q->top->step == NULL)
        return;
    lookup = ARENA_NEW(q->mem, struct spf_lookup);
    lookup->name = spf_printable(q->mem, str_of(answer->name), DNS_NAME_MAX);
    lookup->type = answer->type;
    lookup->status = answer->status;
    lookup->cached = answer->cached;
    lookup->count = answer->status == DNS_OK ? answer->count : 0;
    for (size_t i = 0; i < lookup->count && i < SPF_SHOWN_ANSWERS_MAX; i++)
        lookup->answers[i] = record_text(q->mem, answer->type, &answer->records[i]);
    *q->top->asked_end = lookup;
    q->top->asked_end = &lookup->next;
}

static void close_step(struct spf_query *q, struct spf_frame *frame, enum spf_step_outcome outcome)
{
    if (frame->step == NULL)
        return;
    frame->step->outcome = outcome;
    frame->step->lookups = q->answer.lookups;
    frame->step->void_lookups = q->answer.void_lookups;
    frame->step = NULL;
}

void spf_trace_outcome(struct spf_query *q, enum spf_step_outcome outcome)
{
    close_step(q, q->top, outcome);
}

void spf_trace_end(struct spf_query *q, enum spf_step_outcome outcome)
{
    for (struct spf_frame *frame = q->top; frame != NULL; frame = frame->caller)
        close_step(q, frame, outcome);
}

const char *spf_step_outcome_name(enum spf_step_outcome o)
{
    static const char *const names[] = {"unfinished", "found",    "none",    "match",
                                        "no match",   "followed", "ignored", "error"};

    return names[o];
}
