#include "cli/cli.h"

#include "base/json.h"

#include <getopt.h>
#include <stdio.h>

/* Asking a library for its version is no use of it: the prototypes stand here, so that the headers stay
 * behind their doors. */
const char *uv_version_string(void);
const char *OpenSSL_version(int what);
const char *ares_version(int *number_out);
const char *sqlite3_libversion(void);
const char *yaml_get_version_string(void);
const char *MHD_get_version(void);
const char *idn2_check_version(const char *least);

struct library {
    const char *name, *version;
};

enum { LIBRARIES = 7, OPTION_JSON = 1000, OPENSSL_FULL_VERSION_STRING = 7 };

/* Those that we run with, which may be others than those that we were built with. */
static void ask(struct library libraries[LIBRARIES])
{
    libraries[0] = (struct library){"libuv", uv_version_string()};
    libraries[1] = (struct library){"openssl", OpenSSL_version(OPENSSL_FULL_VERSION_STRING)};
    libraries[2] = (struct library){"c-ares", ares_version(NULL)};
    libraries[3] = (struct library){"sqlite", sqlite3_libversion()};
    libraries[4] = (struct library){"libyaml", yaml_get_version_string()};
    libraries[5] = (struct library){"libmicrohttpd", MHD_get_version()};
    libraries[6] = (struct library){"libidn2", idn2_check_version(NULL)};
}

static void print_json(const struct library *libraries)
{
    struct buf out;
    struct json j;

    buf_init(&out, 64 * 1024);
    json_init(&j, &out);
    json_object(&j);
    json_put_z(&j, "smtpguard", VERSION);
    json_key(&j, "libraries");
    json_object(&j);
    for (size_t i = 0; i < LIBRARIES; i++)
        json_put_z(&j, libraries[i].name, libraries[i].version);
    json_object_end(&j);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

int cli_version(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, OPTION_JSON}, {0}};
    struct library libraries[LIBRARIES];
    bool json = false;
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != OPTION_JSON)
            return cli_usage("version", "\"%s\" is not understood", argv[optind - 1]);
        json = true;
    }
    if (optind < argc)
        return cli_usage("version", "\"%s\" is one word too many", argv[optind]);
    ask(libraries);
    if (json) {
        print_json(libraries);
        return CLI_FINE;
    }
    printf("smtpguard %s\n", VERSION);
    for (size_t i = 0; i < LIBRARIES; i++)
        printf("  %-14s %s\n", libraries[i].name, libraries[i].version);
    return CLI_FINE;
}
