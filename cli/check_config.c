#include "cli/cli.h"

#include "base/json.h"

#include <getopt.h>
#include <stdio.h>

enum { FAULTS_BYTES_MAX = 1024 * 1024, OPTION_JSON = 1000 };

static void print_json(const struct buf *faults)
{
    struct str rest = buf_str(faults), line;
    struct buf out;
    struct json j;

    buf_init(&out, 4 * FAULTS_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    json_put_bool(&j, "valid", faults->n == 0);
    json_key(&j, "faults");
    json_array(&j);
    while (str_cut(rest, '\n', &line, &rest))
        json_str(&j, line);
    json_array_end(&j);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

static int check(const char *file, bool json)
{
    const struct config *config;
    struct buf faults;
    bool valid;

    buf_init(&faults, FAULTS_BYTES_MAX);
    config = config_load(file, &faults);
    valid = config != NULL;
    if (json)
        print_json(&faults);
    else
        fputs(buf_z(&faults), stderr);
    config_unref(&config);
    buf_fini(&faults);
    return valid ? CLI_FINE : CLI_SETTINGS;
}

int cli_check_config(int argc, char **argv)
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
            return cli_usage("check-config", "\"%s\" is not understood", argv[optind - 1]);
    }
    if (argc - optind > 1)
        return cli_usage("check-config", "one file at a time");
    return check(optind < argc ? argv[optind] : file, json);
}
