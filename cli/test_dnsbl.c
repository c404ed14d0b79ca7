#include "cli/lookup_options.h"

#include "base/json.h"

#include <stdio.h>

enum { ANSWER_BYTES_MAX = 1024 * 1024 };

struct options {
    struct lookup_options lookup;
    struct ip ip;
};

struct run {
    struct cli_lookup lookup;
    struct dnsbl_query *query;
    const struct dnsbl_answer *answer;
};

static int read_options(int argc, char **argv, struct options *o)
{
    int code = lookup_options_read("test dnsbl", argc, argv, NULL, NULL, NULL, &o->lookup);

    if (code != CLI_FINE)
        return code;
    if (optind + 1 != argc)
        return cli_usage("test dnsbl", "one address, please");
    if (!ip_parse(str_of(argv[optind]), &o->ip))
        return cli_usage("test dnsbl", "\"%s\" is not an IP address", argv[optind]);
    return CLI_FINE;
}

static const char *verdict_of(const struct config *config, int score)
{
    if (score >= config->dnsbl.reject_score)
        return "reject";
    return score >= config->dnsbl.greylist_score ? "greylist" : "accept";
}

static void print_json(const struct config *config, const struct dnsbl_answer *answer)
{
    char code[IP_TEXT_MAX];
    struct buf out;
    struct json j;

    buf_init(&out, ANSWER_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    json_put_int(&j, "score", answer->score);
    json_put_z(&j, "verdict", verdict_of(config, answer->score));
    json_key(&j, "lists");
    json_array(&j);
    for (size_t i = 0; i < answer->count; i++) {
        const struct dnsbl_hit *hit = &answer->hits[i];

        json_object(&j);
        json_put_str(&j, "zone", dnsbl_public_zone(hit->list->zone));
        json_put_z(&j, "result", dnsbl_result_name(hit->result));
        json_put_z(&j, "code", hit->code.family != 0 ? ip_format(&hit->code, code) : NULL);
        json_put_z(&j, "dns", dns_status_name(hit->status));
        json_put_int(&j, "score", hit->list->score);
        json_object_end(&j);
    }
    json_array_end(&j);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

static void print_text(const struct config *config, const struct dnsbl_answer *answer)
{
    char code[IP_TEXT_MAX];

    for (size_t i = 0; i < answer->count; i++) {
        const struct dnsbl_hit *hit = &answer->hits[i];
        struct str zone = dnsbl_public_zone(hit->list->zone);

        printf("  %-10s %+4d  %.*s %s\n", dnsbl_result_name(hit->result), hit->list->score, STR_ARG(zone),
               ip_format(&hit->code, code));
    }
    printf("  score      %4d  %s (greylisted from %d, refused from %d on)\n", answer->score,
           verdict_of(config, answer->score), config->dnsbl.greylist_score, config->dnsbl.reject_score);
}

static void on_answer(const struct dnsbl_answer *answer, void *arg)
{
    struct run *r = arg;

    r->query = NULL;
    r->answer = answer;
    loop_stop(r->lookup.loop);
}

static void on_deadline(void *arg)
{
    struct run *r = arg;

    r->answer = dnsbl_finish(&r->query);
    loop_stop(r->lookup.loop);
}

/* "No" is a client that would be refused; a list that did not answer leaves the answer open. */
static int exit_code(const struct config *config, const struct dnsbl_answer *answer)
{
    if (answer->score >= config->dnsbl.reject_score)
        return CLI_NO;
    for (size_t i = 0; i < answer->count; i++)
        if (answer->hits[i].result == DNSBL_UNANSWERED)
            return CLI_TEMPORARY;
    return CLI_FINE;
}

static int ask(struct run *r, const struct options *o)
{
    const struct dnsbl_settings *settings = &r->lookup.config->dnsbl;
    struct dnsbl_health *health = dnsbl_health_new(r->lookup.mem, settings->lists, settings->lists_count);
    struct timer deadline = {0};

    if (settings->lists_count == 0) {
        fprintf(stderr, "smtpguard test dnsbl: the settings name no lists (dnsbl.lists); try -c FILE\n");
        return CLI_SETTINGS;
    }
    r->query = dnsbl_start(r->lookup.mem, r->lookup.dns, health, settings->lists, settings->lists_count,
                           &o->ip, loop_now_ms(r->lookup.loop), on_answer, r);
    timer_start(&deadline, r->lookup.loop, settings->deadline_ms, on_deadline, r);
    loop_run(r->lookup.loop);
    timer_stop(&deadline);
    if (o->lookup.json)
        print_json(r->lookup.config, r->answer);
    else
        print_text(r->lookup.config, r->answer);
    return exit_code(r->lookup.config, r->answer);
}

int cli_test_dnsbl(int argc, char **argv)
{
    struct options o = {0};
    struct run r = {0};
    int code = read_options(argc, argv, &o);

    if (code != CLI_FINE)
        return code;
    code = cli_lookup_open(&r.lookup, o.lookup.config_file, o.lookup.dns);
    if (code != CLI_FINE)
        return code;
    return cli_lookup_end(&r.lookup, ask(&r, &o));
}
