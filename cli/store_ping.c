#include "cli/store_open.h"
#include "cli/store_options.h"

#include "base/json.h"
#include "grey/grey.h"
#include "store/redis_url.h"

#include <stdio.h>
#include <time.h>

enum { OUT_MAX = 4096 };

static bool on_row(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    (void)key, (void)value, (void)expires_unix, (void)arg;
    return false;
}

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void tell(const struct cli_store *s, double took_ms)
{
    const char *shown = redis_url_shown(s->lookup.mem, str_of(s->url));
    struct buf out;
    struct json json;

    if (!s->json) {
        printf("%s answers: a row was looked for in %.1f ms\n", shown, took_ms);
        return;
    }
    buf_init(&out, OUT_MAX);
    json_init(&json, &out);
    json_object(&json);
    json_put_z(&json, "store", shown);
    json_put_bool(&json, "answers", true);
    json_put_int(&json, "us", (int64_t)(took_ms * 1000));
    json_object_end(&json);
    puts(buf_z(&out));
    buf_fini(&out);
}

static int ping(const struct cli_store *s)
{
    struct fail fail;
    double took_ms;
    int code = CLI_FINE;
    struct store *store = cli_store_open(s->verb, &s->lookup.config->store, s->url, &code);

    if (store == NULL)
        return code;
    took_ms = -now_ms();
    if (store_find(store, GREY_TABLE, STR("ping"), on_row, NULL, &fail) != 0) {
        fprintf(stderr, "smtpguard %s: %s\n", s->verb, fail.text);
        code = CLI_UNREACHABLE;
    } else {
        tell(s, took_ms + now_ms());
    }
    store_close(&store);
    return code;
}

int cli_store_ping(int argc, char **argv)
{
    struct cli_store s;
    int code = cli_store_options(&s, "store ping", argc, argv);

    if (code == CLI_FINE)
        code = s.file == NULL && s.from == NULL && s.to == NULL ? ping(&s)
                                                                : cli_usage(s.verb, "one word too many");
    cli_lookup_close(&s.lookup);
    return code;
}
