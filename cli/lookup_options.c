#include "cli/lookup_options.h"

#include "base/bug.h"

static const struct option common[] = {
    {"json", no_argument, NULL, LOOKUP_OPTION_JSON},
    {"dns", required_argument, NULL, LOOKUP_OPTION_DNS},
    {"config", required_argument, NULL, 'c'},
};

enum { COMMON = sizeof(common) / sizeof(*common) };

/* The verb's own behind the common ones; the last stays {0}. */
static void join(const struct option *own, struct option all[COMMON + LOOKUP_OWN_MAX + 1])
{
    for (size_t i = 0; i < COMMON; i++)
        all[i] = common[i];
    for (size_t i = 0; own != NULL && own[i].name != NULL; i++) {
        if (i == LOOKUP_OWN_MAX)
            bug("more options of its own than a verb may have");
        all[COMMON + i] = own[i];
    }
}

int lookup_options_read(const char *words, int argc, char **argv, const struct option *own, lookup_own_fn *take,
                        void *arg, struct lookup_options *options_out)
{
    struct option all[COMMON + LOOKUP_OWN_MAX + 1] = {0};
    int option, code = CLI_FINE;

    join(own, all);
    opterr = 0;
    while (code == CLI_FINE && (option = getopt_long(argc, argv, "c:", all, NULL)) != -1) {
        if (option == LOOKUP_OPTION_JSON)
            options_out->json = true;
        else if (option == LOOKUP_OPTION_DNS)
            options_out->dns = optarg;
        else if (option == 'c')
            options_out->config_file = optarg;
        else if (option >= LOOKUP_OPTION_OWN)
            code = take(option, arg);
        else
            code = cli_usage(words, "\"%s\" is not understood", argv[optind - 1]);
    }
    return code;
}
