#include "cli/cli.h"
#include "cli/migrate.h"

#include "base/bug.h"

#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

enum { OPTION_JSON = 1000, OPTION_PROGRAM, OUTPUT_BYTES_MAX = 16 * 1024 * 1024 };

/* Postfix first: it says who we are. Of the rest, what comes first holds. */
static const struct program {
    const char *option, *usual_file;
    int (*migrate)(struct migration *m, const char *file, struct fail *fail);
} programs[] = {
    {"postfix", "/etc/postfix/main.cf", migrate_postfix},
    {"postgrey", "/etc/default/postgrey", migrate_postgrey},
    {"policyd-spf", "/etc/postfix-policyd-spf-python/policyd-spf.conf", migrate_policyd_spf},
    {"smf-spf", "/etc/mail/smfs/smf-spf.conf", migrate_smf_spf},
    {"opendkim", "/etc/opendkim.conf", migrate_opendkim},
    {"opendmarc", "/etc/opendmarc.conf", migrate_opendmarc},
};
enum { PROGRAMS = COUNT(programs) };

static int print(const struct migration *m, bool json)
{
    struct buf out;

    buf_init(&out, OUTPUT_BYTES_MAX);
    (json ? migrate_write_json : migrate_write_yaml)(m, &out);
    fwrite(buf_str(&out).p, 1, buf_str(&out).n, stdout);
    if (out.overflow)
        fputs("smtpguard config migrate: that is too much to print\n", stderr);
    buf_fini(&out);
    fprintf(stderr, "%zu taken over, %zu not\n", m->taken, m->left);
    return out.overflow ? CLI_BAD_INPUT : CLI_FINE;
}

static int migrate(const char *const files[PROGRAMS], bool json)
{
    struct arena *mem = arena_new(0);
    struct migration m;
    struct fail fail;
    size_t read = 0;
    int result = CLI_FINE;

    migrate_init(&m, mem);
    for (size_t i = 0; i < PROGRAMS && result == CLI_FINE; i++) {
        if (files[i] == NULL)
            continue;
        read++;
        if (programs[i].migrate(&m, files[i], &fail) != 0) {
            fprintf(stderr, "smtpguard config migrate: %s\n", fail.text);
            result = CLI_BAD_INPUT;
        }
    }
    if (result == CLI_FINE && read == 0) {
        fputs("smtpguard config migrate: none of the programs has its settings at their usual place here\n",
              stderr);
        result = CLI_NO;
    }
    if (result == CLI_FINE && m.overflow) {
        fprintf(stderr, "smtpguard config migrate: these files come to more than %d settings\n",
                MIGRATE_RECORDS_MAX);
        result = CLI_BAD_INPUT;
    }
    if (result == CLI_FINE)
        result = print(&m, json);
    arena_free(&mem);
    return result;
}

static void look_in_usual_places(const char *files[PROGRAMS])
{
    for (size_t i = 0; i < PROGRAMS; i++)
        files[i] = access(programs[i].usual_file, F_OK) == 0 ? programs[i].usual_file : NULL;
}

int cli_config_migrate(int argc, char **argv)
{
    struct option options[PROGRAMS + 2] = {{"json", no_argument, NULL, OPTION_JSON}};
    const char *files[PROGRAMS] = {NULL};
    bool json = false, named = false;
    int option;

    for (size_t i = 0; i < PROGRAMS; i++)
        options[i + 1] =
            (struct option){programs[i].option, required_argument, NULL, OPTION_PROGRAM + (int)i};
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == OPTION_JSON)
            json = true;
        else if (option >= OPTION_PROGRAM)
            files[option - OPTION_PROGRAM] = optarg, named = true;
        else
            return cli_usage("config migrate", "\"%s\" is not understood", argv[optind - 1]);
    }
    if (optind < argc)
        return cli_usage("config migrate", "\"%s\" is one word too many", argv[optind]);
    if (!named)
        look_in_usual_places(files);
    return migrate(files, json);
}
