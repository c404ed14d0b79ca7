#include "cli/cli.h"

#include "proxy/server.h"

#include <getopt.h>
#include <stdio.h>

int cli_run(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
    const char *file = CLI_CONFIG_FILE;
    const struct config *config;
    struct buf faults;
    struct fail fail;
    int option, result;

    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        if (option != 'c')
            return cli_usage("run", "unknown option");
        file = optarg;
    }
    if (optind < argc)
        return cli_usage("run", "unexpected argument \"%s\"", argv[optind]);
    buf_init(&faults, 64 * 1024);
    config = config_load(file, &faults);
    if (config == NULL) {
        fputs(buf_z(&faults), stderr);
        buf_fini(&faults);
        return CLI_SETTINGS;
    }
    buf_fini(&faults);
    log_open(&config->log);
    result = server_run(config, &fail);
    if (result != 0)
        log_note(LOG_ERROR, "start.failed", "%s", fail.text);
    log_close();
    return result == 0 ? CLI_FINE : CLI_SETTINGS;
}
