#include "cli/cli.h"

#include <stdio.h>
#include <time.h>

/* Set by main.c: the verbs must not refer to the table that refers to them, so that a unit test links one
 * alone. */
const struct cli_verb *cli_current;

int cli_usage(const char *words, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "smtpguard %s: ", words);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    if (cli_current != NULL)
        fprintf(stderr, "usage: smtpguard %s %s\n", cli_current->words, cli_current->synopsis);
    return CLI_USAGE;
}

void cli_print_time(int64_t time_unix)
{
    time_t time = (time_t)time_unix;
    struct tm tm;
    char text[32];

    gmtime_r(&time, &tm);
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%SZ", &tm);
    fputs(text, stdout);
}
