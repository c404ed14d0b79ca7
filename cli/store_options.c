#include "cli/store_options.h"

#include <getopt.h>

enum { JSON = 1000, STORE, FROM, TO };

static const struct option list[] = {
    {"json", no_argument, NULL, JSON},         {"config", required_argument, NULL, 'c'},
    {"store", required_argument, NULL, STORE}, {"from", required_argument, NULL, FROM},
    {"to", required_argument, NULL, TO},       {0}};

static bool take_option(int option, struct cli_store *s)
{
    switch (option) {
    case JSON:
        return s->json = true;
    case 'c':
        return (s->config_file = optarg) != NULL;
    case STORE:
        return (s->url = optarg) != NULL;
    case FROM:
        return (s->from = optarg) != NULL;
    case TO:
        return (s->to = optarg) != NULL;
    default:
        return false;
    }
}

/* With an URL on the command line the settings are not needed. */
int cli_store_options(struct cli_store *s, const char *verb, int argc, char **argv)
{
    int option, code;

    *s = (struct cli_store){.verb = verb};
    opterr = 0;
    while ((option = getopt_long(argc, argv, "c:", list, NULL)) != -1)
        if (!take_option(option, s))
            return cli_usage(verb, "\"%s\" is not understood", argv[optind - 1]);
    if (optind < argc)
        s->file = argv[optind++];
    if (optind < argc)
        return cli_usage(verb, "\"%s\" is one word too many", argv[optind]);
    if (s->config_file == NULL && s->url == NULL && (s->from == NULL || s->to == NULL))
        s->config_file = CLI_CONFIG_FILE;
    code = cli_lookup_open(&s->lookup, s->config_file, NULL);
    if (code == CLI_FINE && s->url == NULL)
        s->url = s->lookup.config->store.url;
    return code;
}
