#include "cli/store_open.h"

#include "base/utf8.h"
#include "proxy/tables.h"
#include "store/redis_url.h"

#include <stdio.h>

enum { TIMEOUT_MS = 1000 }; /* nobody waits for a verb, and the daemon writes at the same time */

struct store *cli_store_open(const char *verb, const struct store_settings *settings, const char *url,
                             int *code_out)
{
    struct store_settings ours = *settings;
    struct store *store;
    struct fail fail;

    if (url != NULL)
        ours.url = url;
    ours.timeout_ms = TIMEOUT_MS;
    ours.guest = true;
    store = tables_open(&ours, clock_system(), &fail);
    if (store == NULL) {
        *code_out = cli_usage(verb, "%s", fail.text);
    } else if (!store_is_available(store) || store_sharing(store) == STORE_SHARES_LATER) {
        struct arena *mem = arena_new(0);

        fprintf(stderr, "smtpguard %s: the store %s is not available\n", verb,
                redis_url_shown(mem, str_of(ours.url)));
        arena_free(&mem);
        store_close(&store);
        *code_out = CLI_UNREACHABLE;
    }
    return store;
}

void cli_on_change(enum store_status status, const void *result, void *waiting)
{
    struct cli_waiting *w = waiting;

    (void)result;
    w->failed |= status != STORE_DONE;
    if (--w->count == 0)
        loop_stop(w->loop);
}

int cli_wait(struct cli_waiting *waiting)
{
    while (waiting->count > 0)
        loop_run(waiting->loop);
    if (waiting->failed)
        fprintf(stderr, "smtpguard: the store does not answer\n");
    return waiting->failed ? CLI_UNREACHABLE : CLI_FINE;
}

void cli_print(struct str text)
{
    while (text.n > 0) {
        size_t n = utf8_length(text);

        if (n > 0 && utf8_is_harmless(utf8_code(text, n)))
            fwrite(text.p, 1, n, stdout);
        else
            putchar('?');
        text = str_from(text, n > 0 ? n : 1);
    }
}
