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
