#include "cli/lookup_options.h"

#include "cli/test_spf.h"
#include "proxy/decide.h"

#include <stdio.h>

enum { OPTION_IP = LOOKUP_OPTION_OWN, ANSWER_BYTES_MAX = 64 * 1024, SPF_DEADLINE_MS = 20 * 1000 };

struct options {
    struct lookup_options lookup;
    const char *helo;
    struct ip ip;
};

struct run {
    struct cli_lookup lookup;
    struct facts facts;
    struct verdict verdict;
    enum dns_status address; /* of the name */
    bool is_clients;         /* the client's own address is among them */
    struct spf_query *query;
    struct timer deadline;
};

static int take_option(int option, void *arg)
{
    struct options *o = arg;

    (void)option; /* there is one */
    if (!ip_parse(str_of(optarg), &o->ip))
        return cli_usage("test helo", "--ip: \"%s\" is not an address", optarg);
    return CLI_FINE;
}

static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option own[] = {
        {"ip", required_argument, NULL, OPTION_IP},
        {0},
    };
    int code = lookup_options_read("test helo", argc, argv, own, take_option, o, &o->lookup);

    if (code != CLI_FINE)
        return code;
    if (optind + 1 != argc)
        return cli_usage("test helo", "one name, please");
    if (o->ip.family == 0)
        return cli_usage("test helo", "--ip is needed: the address of the client");
    o->helo = argv[optind];
    return CLI_FINE;
}

static void on_spf(const struct spf_answer *answer, void *arg)
{
    struct run *r = arg;

    r->query = NULL;
    r->facts.session.spf_helo = answer;
    loop_stop(r->lookup.loop);
}

static void on_deadline(void *arg)
{
    struct run *r = arg;

    r->facts.session.spf_helo = spf_finish(&r->query);
    loop_stop(r->lookup.loop);
}

static void ask_spf(struct run *r)
{
    const struct session_facts *f = &r->facts.session;
    struct spf_ask ask = {.client = f->client,
                          .helo = f->helo,
                          .mail_from = "",
                          .scope = SPF_HELO,
                          .receiver = r->lookup.config->hostname,
                          .now_unix = clock_unix(clock_system())};

    r->query = spf_start(r->lookup.mem, r->lookup.dns, &ask, on_spf, r);
    timer_start(&r->deadline, r->lookup.loop, SPF_DEADLINE_MS, on_deadline, r);
    while (f->spf_helo == NULL)
        loop_run(r->lookup.loop);
    timer_stop(&r->deadline);
}

static void ask_address(struct run *r)
{
    const struct session_facts *f = &r->facts.session;
    struct dns_answer answer = cli_lookup_ask(&r->lookup, f->client.family == 4 ? DNS_A : DNS_AAAA, f->helo);

    r->address = answer.status;
    for (size_t i = 0; answer.status == DNS_OK && i < answer.count; i++)
        r->is_clients = r->is_clients || ip_eq(&answer.records[i].ip, &f->client);
}

static void find_out(struct run *r, const struct options *o)
{
    static const struct ip nowhere = {.family = 0};
    struct session_facts *f = &r->facts.session;

    f->client = o->ip;
    f->helo = o->helo;
    f->helo_form = helo_form_of(str_of(o->helo), &o->ip, r->lookup.config->hostname, &nowhere);
    r->verdict = decide_helo(r->lookup.config, &r->facts);
    r->address = DNS_BADNAME; /* not asked */
    if (f->helo_form != HELO_NAME)
        return;
    ask_address(r);
    ask_spf(r);
}

static void print_json(const struct run *r)
{
    const struct session_facts *f = &r->facts.session;
    struct buf out;
    struct json j;

    buf_init(&out, ANSWER_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    json_put_z(&j, "form", helo_form_name(f->helo_form));
    json_put_z(&j, "verdict", verdict_refuses(&r->verdict) ? "reject" : "accept");
    json_put_z(&j, "reply", verdict_refuses(&r->verdict) ? r->verdict.text : NULL);
    json_put_z(&j, "address", f->helo_form == HELO_NAME ? dns_status_name(r->address) : NULL);
    json_put_bool(&j, "is_clients", r->is_clients);
    json_key(&j, "spf");
    if (f->spf_helo != NULL)
        cli_spf_json(&j, f->spf_helo);
    else
        json_null(&j);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

static void print_text(const struct run *r)
{
    const struct session_facts *f = &r->facts.session;

    printf("form         %s\n", helo_form_name(f->helo_form));
    if (f->helo_form == HELO_NAME)
        printf("address      %s\n", r->is_clients          ? "the client's own"
                                    : r->address == DNS_OK ? "it has others, not the client's"
                                                           : dns_status_name(r->address));
    if (f->spf_helo != NULL)
        printf("spf          %s: %s\n", spf_result_name(f->spf_helo->result), f->spf_helo->reason);
    printf("verdict      %s\n", verdict_refuses(&r->verdict) ? r->verdict.text : "accept");
}

static int code_of(const struct run *r)
{
    const struct spf_answer *spf = r->facts.session.spf_helo;

    if (verdict_refuses(&r->verdict))
        return CLI_NO;
    return dns_is_temporary(r->address) || (spf != NULL && spf->result == SPF_TEMPERROR) ? CLI_TEMPORARY
                                                                                         : CLI_FINE;
}

int cli_test_helo(int argc, char **argv)
{
    struct options o = {0};
    struct run r = {0};
    int code = read_options(argc, argv, &o);

    if (code == CLI_FINE)
        code = cli_lookup_open(&r.lookup, o.lookup.config_file, o.lookup.dns);
    if (code != CLI_FINE)
        return code;
    find_out(&r, &o);
    if (o.lookup.json)
        print_json(&r);
    else
        print_text(&r);
    return cli_lookup_end(&r.lookup, code_of(&r));
}
