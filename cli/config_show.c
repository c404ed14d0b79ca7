#include "cli/cli.h"

#include <getopt.h>
#include <stdio.h>

enum { SHOWN_BYTES_MAX = 16 * 1024 * 1024, OPTION_JSON = 1000 };

static int show(const char *file, bool json)
{
    struct buf out, faults;
    int result;

    buf_init(&out, SHOWN_BYTES_MAX);
    buf_init(&faults, SHOWN_BYTES_MAX);
    result = config_show(file, json, &out, &faults);
    fputs(buf_z(&out), stdout);
    fputs(buf_z(&faults), stderr);
    buf_fini(&out);
    buf_fini(&faults);
    return result == 0 ? CLI_FINE : CLI_SETTINGS;
}

int cli_config_show(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, OPTION_JSON}, {"config", required_argument, NULL, 'c'}, {0}};
    const char *file = CLI_CONFIG_FILE;
    bool json = false;
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        if (option == OPTION_JSON)
            json = true;
        else if (option == 'c')
            file = optarg;
        else
            return cli_usage("config show", "\"%s\" is not understood", argv[optind - 1]);
    }
    if (optind < argc)
        return cli_usage("config show", "\"%s\" is one word too many", argv[optind]);
    return show(file, json);
}
