#include "cli/cli.h"

#include "config/value.h"

#include <stdio.h>

enum { FAULTS_BYTES_MAX = 1024 * 1024 };

static int load(struct cli_lookup *lookup, const char *config_file)
{
    struct buf faults;

    buf_init(&faults, FAULTS_BYTES_MAX);
    lookup->config = config_load(config_file, &faults);
    if (lookup->config == NULL)
        fputs(buf_z(&faults), stderr);
    buf_fini(&faults);
    return lookup->config != NULL ? CLI_FINE : CLI_SETTINGS;
}

int cli_lookup_open(struct cli_lookup *lookup, const char *config_file, const char *dns_server)
{
    struct dns_settings settings;
    struct endpoint server;
    struct fail fail;
    int code;

    *lookup = (struct cli_lookup){0};
    if (dns_server != NULL && value_endpoint(str_of(dns_server), 53, &server, &fail) < 0) {
        fprintf(stderr, "smtpguard: --dns: %s\n", fail.text);
        return CLI_USAGE;
    }
    code = load(lookup, config_file);
    if (code != CLI_FINE)
        return code;
    settings = lookup->config->dns;
    if (dns_server != NULL) {
        settings.servers = &server;
        settings.servers_count = 1;
    }
    lookup->mem = arena_new(0);
    lookup->loop = loop_new();
    lookup->dns = resolver_new(lookup->loop, &settings, &fail);
    if (lookup->dns != NULL)
        return CLI_FINE;
    fprintf(stderr, "smtpguard: %s\n", fail.text);
    cli_lookup_close(lookup);
    return CLI_TEMPORARY;
}

/* Fine after a failed open too. */
void cli_lookup_close(struct cli_lookup *lookup)
{
    if (lookup->dns != NULL)
        resolver_free(&lookup->dns);
    if (lookup->loop != NULL)
        loop_free(&lookup->loop);
    arena_free(&lookup->mem);
    config_unref(&lookup->config);
}

/* ---- asking, and waiting for it ---- */

struct asking {
    struct cli_lookup *lookup;
    struct dns_token *token;
    struct dns_answer answer;
};

static void on_answer(const struct dns_answer *answer, void *arg)
{
    struct asking *asking = arg;
    struct arena *mem = asking->lookup->mem;
    struct dns_record *records = ARENA_ARRAY(mem, struct dns_record, answer->count);

    asking->token = NULL;
    asking->answer = *answer;
    asking->answer.name = str_dup(mem, str_of(answer->name));
    asking->answer.records = records;
    for (size_t i = 0; i < answer->count; i++) {
        records[i] = answer->records[i];
        records[i].name = records[i].name != NULL ? str_dup(mem, str_of(records[i].name)) : NULL;
        records[i].text = str_copy(mem, records[i].text);
    }
    loop_stop(asking->lookup->loop);
}

/* The resolver ends each question by its deadline. */
struct dns_answer cli_lookup_ask(struct cli_lookup *lookup, enum dns_type type, const char *name)
{
    struct asking asking = {.lookup = lookup};

    asking.token = dns_query(lookup->dns, type, name, on_answer, &asking);
    while (asking.token != NULL)
        loop_run(lookup->loop);
    return asking.answer;
}

/* ---- whose fault it is ---- */

static void tell_why_not(struct cli_lookup *lookup)
{
    struct endpoint server;
    struct dns_answer answer;

    if (resolver_servers(lookup->dns, &server, 1) == 0)
        return;
    fflush(stdout);
    answer = cli_lookup_ask(lookup, DNS_A, "localhost"); /* any answer will do */
    fprintf(stderr,
            dns_is_temporary(answer.status)
                ? "smtpguard: the resolver at %s does not answer: start it, or correct dns.servers\n"
                : "smtpguard: the resolver at %s answers, but could not find this out: either the servers of that domain do "
                  "not answer, or it cannot reach them; ask again later\n",
            endpoint_text(lookup->mem, &server));
}

int cli_lookup_end(struct cli_lookup *lookup, int code)
{
    if (code == CLI_TEMPORARY)
        tell_why_not(lookup);
    cli_lookup_close(lookup);
    return code;
}
