#include "cli/test_spf.h"

#include "cli/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { OPTION_JSON = 1000, OPTION_DNS, OPTION_IP, OPTION_HELO, OPTION_FROM, OPTION_RECEIVER, OPTION_TRACE };
enum { DEADLINE_MS = 20 * 1000, JSON_BYTES_MAX = 16 * 1024 * 1024 }; /* RFC 7208 4.6.4: at least 20 seconds */

struct arguments {
    const char *config_file, *dns_server, *ip, *helo, *from, *receiver;
    bool json, trace;
};

struct evaluation {
    struct cli_lookup lookup;
    struct timer deadline;
    struct spf_query *query;
    const struct spf_answer *answer;
};

static int read_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, OPTION_JSON},
        {"config", required_argument, NULL, 'c'},
        {"dns", required_argument, NULL, OPTION_DNS},
        {"ip", required_argument, NULL, OPTION_IP},
        {"helo", required_argument, NULL, OPTION_HELO},
        {"from", required_argument, NULL, OPTION_FROM},
        {"receiver", required_argument, NULL, OPTION_RECEIVER},
        {"trace", no_argument, NULL, OPTION_TRACE},
        {0},
    };
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        switch (option) {
        case OPTION_JSON:
            a->json = true;
            break;
        case 'c':
            a->config_file = optarg;
            break;
        case OPTION_DNS:
            a->dns_server = optarg;
            break;
        case OPTION_IP:
            a->ip = optarg;
            break;
        case OPTION_HELO:
            a->helo = optarg;
            break;
        case OPTION_FROM:
            a->from = optarg;
            break;
        case OPTION_RECEIVER:
            a->receiver = optarg;
            break;
        case OPTION_TRACE:
            a->trace = true;
            break;
        default:
            return cli_usage("test spf", "\"%s\" is not understood, or wants a value", argv[optind - 1]);
        }
    }
    if (optind < argc)
        return cli_usage("test spf", "\"%s\" is one word too many", argv[optind]);
    return CLI_FINE;
}

/* "<a@b>" is taken as "a@b", and "<>" as the null sender. */
static const char *without_brackets(struct arena *mem, const char *text)
{
    struct str s = str_of(text);

    if (s.n < 2 || s.p[0] != '<' || s.p[s.n - 1] != '>')
        return str_dup(mem, s);
    return str_dup(mem, str_make(s.p + 1, s.n - 2));
}

static int make_ask(const struct arguments *a, struct arena *mem, struct spf_ask *ask_out)
{
    *ask_out =
        (struct spf_ask){.helo = a->helo != NULL ? a->helo : "", .receiver = a->receiver, .scope = SPF_MFROM};
    ask_out->mail_from = without_brackets(mem, a->from != NULL ? a->from : "");
    if (a->ip == NULL)
        return cli_usage("test spf", "--ip is needed: the address of the client");
    if (!ip_parse(str_of(a->ip), &ask_out->client))
        return cli_usage("test spf", "--ip: \"%s\" is not an address", a->ip);
    if (*ask_out->helo == '\0' && *ask_out->mail_from == '\0')
        return cli_usage("test spf",
                         "--from or --helo is needed: without a sender, the HELO name is checked");
    ask_out->trace = a->trace || !a->json;
    ask_out->now_unix = clock_unix(clock_system());
    return CLI_FINE;
}

static void on_done(const struct spf_answer *answer, void *arg)
{
    struct evaluation *e = arg;

    e->query = NULL;
    e->answer = answer;
    loop_stop(e->lookup.loop);
}

static void on_deadline(void *arg)
{
    struct evaluation *e = arg;

    e->answer = spf_finish(&e->query);
    loop_stop(e->lookup.loop);
}

static const struct spf_answer *evaluate(struct evaluation *e, const struct spf_ask *ask)
{
    e->query = spf_start(e->lookup.mem, e->lookup.dns, ask, on_done, e);
    timer_start(&e->deadline, e->lookup.loop, DEADLINE_MS, on_deadline, e);
    loop_run(e->lookup.loop);
    timer_stop(&e->deadline);
    return e->answer;
}

void cli_spf_put(struct json *j, const struct spf_answer *answer)
{
    json_put_z(j, "result", spf_result_name(answer->result));
    json_put_z(j, "scope", spf_scope_name(answer->scope));
    json_put_z(j, "domain", answer->domain);
    json_put_z(j, "mechanism", answer->mechanism);
    json_put_z(j, "explanation", answer->explanation);
    json_put_int(j, "lookups", answer->lookups);
    json_put_int(j, "void_lookups", answer->void_lookups);
    json_put_z(j, "reason", answer->reason);
}

void cli_spf_json(struct json *j, const struct spf_answer *answer)
{
    json_object(j);
    cli_spf_put(j, answer);
    json_object_end(j);
}

static void print_json(const struct spf_answer *answer, bool trace)
{
    struct buf out;
    struct json j;

    buf_init(&out, JSON_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    cli_spf_put(&j, answer);
    if (trace) {
        json_key(&j, "trace");
        cli_spf_trace_json(&j, answer->trace);
    }
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

static void print_text(const struct spf_answer *answer)
{
    printf("result       %s\n", spf_result_name(answer->result));
    printf("identity     %s %s\n", spf_scope_name(answer->scope), answer->domain);
    if (answer->mechanism != NULL)
        printf("mechanism    %s\n", answer->mechanism);
    printf("because      %s\n", answer->reason);
    if (*answer->explanation != '\0')
        printf("explanation  %s\n", answer->explanation);
    printf("lookups      %u of 10, void %u of 2\n", answer->lookups, answer->void_lookups);
    if (answer->trace->steps != NULL)
        cli_spf_trace_print(answer->trace);
}

/* "No" is what the domain's owner says of this host; an answer that says neither is fine. */
static int code_of(enum spf_result result)
{
    return result == SPF_FAIL ? CLI_NO : result == SPF_TEMPERROR ? CLI_TEMPORARY : CLI_FINE;
}

static int run(const struct arguments *a, struct evaluation *e, struct spf_ask *ask)
{
    const struct spf_answer *answer;
    int code = cli_lookup_open(&e->lookup, a->config_file, a->dns_server);

    if (code != CLI_FINE)
        return code;
    if (ask->receiver == NULL)
        ask->receiver = e->lookup.config->hostname;
    answer = evaluate(e, ask);
    if (a->json)
        print_json(answer, a->trace);
    else
        print_text(answer);
    return cli_lookup_end(&e->lookup, code_of(answer->result));
}

int cli_test_spf(int argc, char **argv)
{
    struct arena *mem = arena_new(0);
    struct arguments arguments = {0};
    struct evaluation evaluation = {0};
    struct spf_ask ask;
    int code = read_arguments(argc, argv, &arguments);

    if (code == CLI_FINE)
        code = make_ask(&arguments, mem, &ask);
    if (code == CLI_FINE)
        code = run(&arguments, &evaluation, &ask);
    arena_free(&mem);
    return code;
}
