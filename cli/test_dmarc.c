#include "cli/lookup_options.h"

#include "base/json.h"
#include "smtp/mailbox.h"

#include <stdio.h>

enum { ANSWER_BYTES_MAX = 1024 * 1024 };

struct options {
    struct lookup_options lookup;
    const char *domain;
};

struct run {
    struct cli_lookup lookup;
    const struct dmarc_discovery *found;
};

static int read_options(int argc, char **argv, struct options *o)
{
    int code = lookup_options_read("test dmarc", argc, argv, NULL, NULL, NULL, &o->lookup);

    if (code != CLI_FINE)
        return code;
    if (optind == argc)
        return cli_usage("test dmarc", "which domain?");
    if (optind + 1 < argc)
        return cli_usage("test dmarc", "\"%s\" is one word too many", argv[optind + 1]);
    o->domain = argv[optind];
    return CLI_FINE;
}

/* ---- the answer ---- */

static void put_list(struct json *j, const char *key, const char *const *items, size_t count)
{
    json_key(j, key);
    json_array(j);
    for (size_t i = 0; i < count; i++)
        json_z(j, items[i]);
    json_array_end(j);
}

/* Without a record its tags are null, and the lists empty. */
static void put_record(struct json *j, const struct dmarc_record *r)
{
    static const struct dmarc_record none;
    const char *strict = "s", *relaxed = "r";

    json_put_z(j, "policy", r != NULL ? dmarc_policy_name(r->policy) : NULL);
    json_put_z(j, "subdomain_policy", r != NULL ? dmarc_policy_name(r->subdomain_policy) : NULL);
    json_put_z(j, "nonexistent_policy", r != NULL ? dmarc_policy_name(r->nonexistent_policy) : NULL);
    json_put_bool(j, "testing", r != NULL && r->testing);
    json_put_z(j, "adkim", r == NULL ? NULL : r->adkim_strict ? strict : relaxed);
    json_put_z(j, "aspf", r == NULL ? NULL : r->aspf_strict ? strict : relaxed);
    r = r != NULL ? r : &none;
    put_list(j, "rua", r->rua, r->rua_count);
    put_list(j, "ruf", r->ruf, r->ruf_count);
}

static void print_json(const struct dmarc_discovery *d)
{
    struct buf out;
    struct json j;

    buf_init(&out, ANSWER_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    json_put_z(&j, "result", dmarc_found_name(d->found));
    json_put_z(&j, "record_domain", d->record_domain);
    json_put_z(&j, "org_domain", d->org_domain);
    put_record(&j, d->record);
    put_list(&j, "queries", d->queries, d->queries_count);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

/* The policy for mail from this very domain, if all of it failed. */
static const char *policy_here(const struct dmarc_discovery *d)
{
    const struct dmarc_record *r = d->record;

    if (str_same_z(str_of(d->record_domain), d->from_domain))
        return dmarc_policy_name(r->policy);
    return dmarc_policy_name(d->from_exists ? r->subdomain_policy : r->nonexistent_policy);
}

/* What strangers publish must not reach the terminal as it is. */
static void print_record(struct str text)
{
    fputs("  record  ", stdout);
    for (size_t i = 0; i < text.n; i++)
        putchar(text.p[i] >= ' ' && text.p[i] <= '~' ? text.p[i] : '?');
    putchar('\n');
}

static void print_text(const struct dmarc_discovery *d)
{
    for (size_t i = 0; i < d->queries_count; i++)
        printf("  asked   %s\n", d->queries[i]);
    printf("  result  %s: %s\n", dmarc_found_name(d->found), d->reason);
    if (d->org_domain != NULL)
        printf("  organisational domain  %s\n", d->org_domain);
    if (d->record == NULL)
        return;
    print_record(d->record->text);
    printf("  policy  %s for mail from %s%s\n", policy_here(d), d->from_domain,
           d->record->testing ? ", one step less because of t=y" : "");
}

static int exit_code(enum dmarc_found found)
{
    switch (found) {
    case DMARC_FOUND:
        return CLI_FINE;
    case DMARC_NOT_FOUND:
        return CLI_NO;
    case DMARC_FOUND_TEMPERROR:
        return CLI_TEMPORARY;
    default:
        return CLI_BAD_INPUT;
    }
}

static void on_found(const struct dmarc_discovery *found, void *arg)
{
    struct run *r = arg;

    r->found = found;
    loop_stop(r->lookup.loop);
}

/* A name that has no A-label form goes on as it is: discovery says what is wrong with it. */
static int ask(struct run *r, const struct options *o)
{
    const char *ascii = mailbox_domain_to_ascii(r->lookup.mem, str_of(o->domain));

    dmarc_start(r->lookup.mem, r->lookup.dns, ascii != NULL ? ascii : o->domain, on_found, r);
    loop_run(r->lookup.loop);
    if (o->lookup.json)
        print_json(r->found);
    else
        print_text(r->found);
    return exit_code(r->found->found);
}

int cli_test_dmarc(int argc, char **argv)
{
    struct options o = {0};
    struct run r = {0};
    int code = read_options(argc, argv, &o);

    if (code != CLI_FINE)
        return code;
    code = cli_lookup_open(&r.lookup, o.lookup.config_file, o.lookup.dns);
    if (code != CLI_FINE)
        return code;
    return cli_lookup_end(&r.lookup, ask(&r, &o));
}
