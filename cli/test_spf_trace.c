#include "cli/test_spf.h"

#include <stdio.h>

static size_t shown(const struct spf_lookup *lookup)
{
    return lookup->count < SPF_SHOWN_ANSWERS_MAX ? lookup->count : SPF_SHOWN_ANSWERS_MAX;
}

static void put_lookup(struct json *j, const struct spf_lookup *lookup)
{
    json_object(j);
    json_put_z(j, "type", dns_type_name(lookup->type));
    json_put_z(j, "name", lookup->name);
    json_put_z(j, "status", dns_status_name(lookup->status));
    json_put_int(j, "count", (int64_t)lookup->count);
    json_key(j, "answers");
    json_array(j);
    for (size_t i = 0; i < shown(lookup); i++)
        json_z(j, lookup->answers[i]);
    json_array_end(j);
    json_object_end(j);
}

void cli_spf_trace_json(struct json *j, const struct spf_trace *trace)
{
    json_array(j);
    for (const struct spf_step *step = trace->steps; step != NULL; step = step->next) {
        json_object(j);
        json_put_int(j, "depth", step->depth);
        json_put_z(j, "domain", step->domain);
        json_put_z(j, "term", step->term);
        json_put_z(j, "target", step->target);
        json_put_z(j, "outcome", spf_step_outcome_name(step->outcome));
        json_put_int(j, "lookups", step->lookups);
        json_put_int(j, "void_lookups", step->void_lookups);
        json_key(j, "questions");
        json_array(j);
        for (const struct spf_lookup *lookup = step->asked; lookup != NULL; lookup = lookup->next)
            put_lookup(j, lookup);
        json_array_end(j);
        json_object_end(j);
    }
    json_array_end(j);
}

static void print_lookup(const struct spf_lookup *lookup, int indent)
{
    printf("%*s%s %s: ", indent, "", dns_type_name(lookup->type), lookup->name);
    if (lookup->status != DNS_OK)
        printf("%s", dns_status_name(lookup->status));
    for (size_t i = 0; i < shown(lookup); i++)
        printf("%s%s", i > 0 ? ", " : "", lookup->answers[i]);
    if (lookup->count > shown(lookup))
        printf(" and %zu more", lookup->count - shown(lookup));
    putchar('\n');
}

void cli_spf_trace_print(const struct spf_trace *trace)
{
    printf("steps        lookup terms and void lookups so far in front\n");
    for (const struct spf_step *step = trace->steps; step != NULL; step = step->next) {
        int indent = 2 * (int)step->depth;

        printf("%4u %2u  %*s%s%s: %s\n", step->lookups, step->void_lookups, indent, "",
               step->term != NULL ? step->term : "the record of ", step->term != NULL ? "" : step->domain,
               spf_step_outcome_name(step->outcome));
        for (const struct spf_lookup *lookup = step->asked; lookup != NULL; lookup = lookup->next)
            print_lookup(lookup, indent + 13);
    }
    if (trace->left_out > 0)
        printf("         … and %zu more\n", trace->left_out);
}
