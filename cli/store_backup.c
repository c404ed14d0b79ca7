#include "cli/store_options.h"

#include "store/redis_url.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of a shared store it is the local file that is copied: the server has ways of its own. */
static const char *path_of(const struct cli_store *s)
{
    struct str url = str_of(s->url);

    if (redis_url_is(url))
        return s->lookup.config->store.local;
    return str_starts(url, STR("sqlite:")) ? s->url + strlen("sqlite:") : NULL;
}

static int backup(const struct cli_store *s)
{
    const char *path = path_of(s);
    struct fail fail;

    if (s->file == NULL)
        return cli_usage(s->verb, "the name of a new file is missing");
    if (path == NULL || *path == '\0')
        return cli_usage(s->verb, "\"%s\" is no store", s->url);
    if (access(s->file, F_OK) == 0) {
        fprintf(stderr, "smtpguard %s: %s is there already\n", s->verb, s->file);
        return CLI_BAD_INPUT;
    }
    if (store_backup(path, s->file, &fail) != 0) {
        fprintf(stderr, "smtpguard %s: %s\n", s->verb, fail.text);
        return CLI_UNREACHABLE;
    }
    if (s->json)
        puts("{\"copied\":true}");
    else
        printf("%s is a copy of %s\n", s->file, path);
    return CLI_FINE;
}

int cli_store_backup(int argc, char **argv)
{
    struct cli_store s;
    int code = cli_store_options(&s, "store backup", argc, argv);

    if (code == CLI_FINE)
        code =
            s.from == NULL && s.to == NULL ? backup(&s) : cli_usage(s.verb, "it takes no --from and no --to");
    cli_lookup_close(&s.lookup);
    return code;
}
