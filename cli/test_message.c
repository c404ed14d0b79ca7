#include "cli/cli.h"

#include "auth/authres.h"
#include "base/json.h"
#include "cli/test_message.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { OPTION_JSON = 1000, OPTION_DNS, OPTION_IP, OPTION_HELO, OPTION_FROM, OPTION_NOW, OPTION_ID };
enum { DEADLINE_MS = 20 * 1000, ANSWER_BYTES_MAX = 4 * 1024 * 1024 };

struct options {
    const char *config_file, *dns, *helo, *mail_from, *authserv_id, *file;
    struct ip client; /* family 0: none, and no SPF */
    int64_t now_unix; /* -1: the clock's */
    bool json;
};

/* One evaluation: SPF, DKIM and DMARC discovery side by side, then alignment. */
struct run {
    const struct options *options;
    struct cli_lookup lookup;
    struct test_message message;
    struct timer deadline;
    struct spf_query *spf_query;
    struct dkim_verifier *verifier;
    struct arc_verifier *arc_verifier;
    struct dmarc_query *dmarc_query;
    struct dmarc_alignment *alignment;
    const char *from_domain; /* NULL: the From field names none, and from_fault says why */
    const char *from_fault;
    const struct spf_answer *spf; /* NULL: not asked for */
    const struct dkim_answer *dkim;
    const struct arc_answer *arc;
    const struct dmarc_discovery *found;
    struct dmarc_evaluation dmarc;
};

/* ---- options ---- */

static int set_option(struct options *o, int option, char **argv)
{
    uint64_t now_unix;

    switch (option) {
    case OPTION_JSON:
        o->json = true;
        return CLI_FINE;
    case OPTION_DNS:
        o->dns = optarg;
        return CLI_FINE;
    case OPTION_HELO:
        o->helo = optarg;
        return CLI_FINE;
    case OPTION_FROM:
        o->mail_from = optarg;
        return CLI_FINE;
    case OPTION_ID:
        o->authserv_id = optarg;
        return CLI_FINE;
    case 'c':
        o->config_file = optarg;
        return CLI_FINE;
    case OPTION_IP:
        if (ip_parse(str_of(optarg), &o->client))
            return CLI_FINE;
        return cli_usage("test message", "--ip: \"%s\" is not an address", optarg);
    case OPTION_NOW:
        if (!str_to_u64(str_of(optarg), INT64_MAX, &now_unix))
            return cli_usage("test message", "--now: \"%s\" is not a number of seconds since 1970", optarg);
        o->now_unix = (int64_t)now_unix;
        return CLI_FINE;
    default:
        return cli_usage("test message", "\"%s\" is not understood", argv[optind - 1]);
    }
}

static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option options[] = {{"json", no_argument, NULL, OPTION_JSON},
                                            {"dns", required_argument, NULL, OPTION_DNS},
                                            {"config", required_argument, NULL, 'c'},
                                            {"ip", required_argument, NULL, OPTION_IP},
                                            {"helo", required_argument, NULL, OPTION_HELO},
                                            {"from", required_argument, NULL, OPTION_FROM},
                                            {"now", required_argument, NULL, OPTION_NOW},
                                            {"authserv-id", required_argument, NULL, OPTION_ID},
                                            {0}};
    int option, code;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        code = set_option(o, option, argv);
        if (code != CLI_FINE)
            return code;
    }
    if (optind + 1 < argc)
        return cli_usage("test message", "\"%s\" is one word too many", argv[optind + 1]);
    o->file = optind < argc ? argv[optind] : "-";
    if (o->client.family == 0 && (o->helo != NULL || o->mail_from != NULL))
        fputs("smtpguard: without --ip there is no SPF, so --helo and --from change nothing\n", stderr);
    return CLI_FINE;
}

/* ---- the checks ---- */

/* <user@example.org> as in MAIL FROM, or without the brackets. */
static const char *bare_address(struct arena *mem, const char *text)
{
    struct str address = str_of(text);

    if (address.n >= 2 && address.p[0] == '<' && address.p[address.n - 1] == '>')
        address = str_make(address.p + 1, address.n - 2);
    return str_dup(mem, address);
}

static void conclude(struct run *r)
{
    timer_stop(&r->deadline);
    loop_stop(r->lookup.loop);
}

static void on_dmarc(const struct dmarc_evaluation *evaluation, void *arg)
{
    struct run *r = arg;

    r->alignment = NULL;
    r->dmarc = *evaluation;
    conclude(r);
}

static void align_when_ready(struct run *r)
{
    struct dmarc_ask ask = {r->found, r->spf, r->dkim};

    if (r->spf_query != NULL || r->dkim == NULL || r->arc == NULL || r->dmarc_query != NULL)
        return;
    if (r->found == NULL)
        conclude(r); /* no author domain: DMARC has nothing to compare with */
    else
        r->alignment = dmarc_align_start(r->lookup.mem, r->lookup.dns, &ask, on_dmarc, r);
}

static void on_spf(const struct spf_answer *answer, void *arg)
{
    struct run *r = arg;

    r->spf_query = NULL;
    r->spf = answer;
    align_when_ready(r);
}

static void on_dkim(const struct dkim_answer *answer, void *arg)
{
    struct run *r = arg;

    r->dkim = answer;
    align_when_ready(r);
}

static void on_arc(const struct arc_answer *answer, void *arg)
{
    struct run *r = arg;

    r->arc = answer;
    align_when_ready(r);
}

static void on_found(const struct dmarc_discovery *found, void *arg)
{
    struct run *r = arg;

    r->dmarc_query = NULL;
    r->found = found;
    align_when_ready(r);
}

/* What has not answered by now is a temperror. */
static void on_deadline(void *arg)
{
    struct run *r = arg;

    if (r->spf_query != NULL)
        r->spf = spf_finish(&r->spf_query);
    if (r->dkim == NULL)
        r->dkim = dkim_verify_finish(&r->verifier);
    if (r->arc == NULL)
        r->arc = arc_verify_finish(&r->arc_verifier);
    dmarc_cancel(&r->dmarc_query);
    dmarc_align_cancel(&r->alignment);
    if (r->from_domain != NULL)
        r->dmarc = (struct dmarc_evaluation){.result = DMARC_TEMPERROR, .reason = "the DNS took too long"};
    loop_stop(r->lookup.loop);
}

static void start_spf(struct run *r, int64_t now_unix)
{
    const struct options *o = r->options;
    const char *receiver = r->lookup.config->hostname;
    struct spf_ask ask = {.client = o->client, .scope = SPF_MFROM, .now_unix = now_unix};

    if (o->client.family == 0)
        return;
    ask.helo = o->helo != NULL ? o->helo : "";
    ask.mail_from = o->mail_from != NULL ? bare_address(r->lookup.mem, o->mail_from) : "";
    ask.receiver = receiver != NULL ? receiver : "unknown"; /* RFC 7208 7.3 */
    r->spf_query = spf_start(r->lookup.mem, r->lookup.dns, &ask, on_spf, r);
}

static void start_dmarc(struct run *r)
{
    r->from_domain = dmarc_from_domain(r->lookup.mem, &r->message.header, &r->from_fault);
    if (r->from_domain != NULL)
        r->dmarc_query = dmarc_start(r->lookup.mem, r->lookup.dns, r->from_domain, on_found, r);
    else
        r->dmarc = (struct dmarc_evaluation){.result = DMARC_PERMERROR, .reason = r->from_fault};
}

static void start_arc(struct run *r, int64_t now_unix)
{
    const struct cli_lookup *l = &r->lookup;

    r->arc_verifier =
        arc_verify_start(l->mem, l->dns, NULL, &l->config->arc.verify, &r->message.header, now_unix);
    arc_verify_body(r->arc_verifier, r->message.body);
    arc_verify_end(r->arc_verifier, on_arc, r);
}

static void evaluate(struct run *r)
{
    const struct cli_lookup *l = &r->lookup;
    int64_t now_unix = r->options->now_unix >= 0 ? r->options->now_unix : clock_unix(clock_system());

    start_dmarc(r);
    start_spf(r, now_unix);
    r->verifier = dkim_verify_start(l->mem, l->dns, NULL, &l->config->dkim, &r->message.header,
                                    r->from_domain, now_unix);
    dkim_verify_body(r->verifier, r->message.body);
    dkim_verify_end(r->verifier, on_dkim, r);
    start_arc(r, now_unix);
    timer_start(&r->deadline, l->loop, DEADLINE_MS, on_deadline, r);
    loop_run(l->loop);
}

/* ---- the answer ---- */

/* What the published policy would do; the evidence that a rejection needs besides is the server's matter. */
static enum dmarc_policy applied(const struct run *r)
{
    return r->dmarc.result == DMARC_FAIL ? r->dmarc.policy : DMARC_POLICY_NONE;
}

static void write_field(struct run *r, struct buf *out)
{
    const struct config *config = r->lookup.config;
    struct authres a = {.spf = r->spf,
                        .dkim = r->dkim,
                        .arc = r->arc,
                        .dmarc = &r->dmarc,
                        .discovery = r->found,
                        .from_domain = r->from_domain,
                        .applied = applied(r)};

    a.authserv_id = r->options->authserv_id;
    if (a.authserv_id == NULL)
        a.authserv_id = config->authserv_id;
    if (a.authserv_id == NULL || *a.authserv_id == '\0')
        a.authserv_id = config->hostname != NULL ? config->hostname : "localhost";
    a.helo = r->options->helo;
    a.mail_from = r->options->mail_from != NULL ? bare_address(r->lookup.mem, r->options->mail_from) : NULL;
    authres_write(out, &a);
}

static void put_spf(struct json *j, const struct spf_answer *spf)
{
    json_key(j, "spf");
    if (spf == NULL) {
        json_null(j);
        return;
    }
    json_object(j);
    json_put_z(j, "result", spf_result_name(spf->result));
    json_put_z(j, "scope", spf_scope_name(spf->scope));
    json_put_z(j, "domain", spf->domain);
    json_put_z(j, "mechanism", spf->mechanism);
    json_put_z(j, "explanation", spf->explanation);
    json_put_int(j, "lookups", spf->lookups);
    json_put_int(j, "void_lookups", spf->void_lookups);
    json_put_z(j, "reason", spf->reason);
    json_object_end(j);
}

static void put_dkim(struct json *j, const struct dkim_answer *dkim)
{
    json_key(j, "dkim");
    json_array(j);
    for (size_t i = 0; i < dkim->count; i++) {
        const struct dkim_signature *s = &dkim->signatures[i];

        json_object(j);
        json_put_z(j, "result", dkim_result_name(s->result));
        json_put_z(j, "domain", s->domain);
        json_put_z(j, "selector", s->selector);
        json_put_z(j, "identity", s->identity);
        json_put_z(j, "algorithm", s->algorithm);
        json_put_int(j, "bits", s->bits);
        json_put_bool(j, "testing", s->testing);
        json_put_z(j, "reason", s->reason);
        json_object_end(j);
    }
    json_array_end(j);
}

static void put_arc(struct json *j, const struct arc_answer *arc)
{
    json_key(j, "arc");
    json_object(j);
    json_put_z(j, "result", arc_result_name(arc->result));
    json_put_int(j, "instances", (int64_t)arc->instances);
    json_put_z(j, "reason", arc->reason);
    json_object_end(j);
}

static void put_dmarc(struct json *j, const struct run *r)
{
    const struct dmarc_discovery *d = r->found;

    json_key(j, "dmarc");
    json_object(j);
    json_put_z(j, "result", dmarc_result_name(r->dmarc.result));
    json_put_z(j, "from_domain", r->from_domain);
    json_put_z(j, "org_domain", d != NULL ? d->org_domain : NULL);
    json_put_z(j, "record_domain", d != NULL ? d->record_domain : NULL);
    json_put_z(j, "policy", d != NULL && d->record != NULL ? dmarc_policy_name(r->dmarc.policy) : NULL);
    json_put_z(j, "applied", dmarc_policy_name(applied(r)));
    json_put_bool(j, "spf_aligned", r->dmarc.spf_aligned);
    json_put_bool(j, "dkim_aligned", r->dmarc.dkim_aligned);
    json_put_z(j, "reason", r->dmarc.reason);
    json_object_end(j);
}

static void print_json(const struct run *r, struct str field)
{
    struct buf out;
    struct json j;

    buf_init(&out, ANSWER_BYTES_MAX);
    json_init(&j, &out);
    json_object(&j);
    put_spf(&j, r->spf);
    put_dkim(&j, r->dkim);
    put_arc(&j, r->arc);
    put_dmarc(&j, r);
    json_put_str(&j, "authentication_results", field);
    json_object_end(&j);
    puts(buf_z(&out));
    buf_fini(&out);
}

static void print_text(const struct run *r, struct str field)
{
    if (r->spf != NULL)
        printf("spf    %s: %s\n", spf_result_name(r->spf->result), r->spf->reason);
    for (size_t i = 0; i < r->dkim->count; i++) {
        const struct dkim_signature *s = &r->dkim->signatures[i];

        printf("dkim   %s: %s %s%s%s\n", dkim_result_name(s->result), s->domain, s->selector,
               *s->reason != '\0' ? ": " : "", s->reason);
    }
    if (r->dkim->count == 0)
        printf("dkim   none: the message is not signed\n");
    printf("dmarc  %s: %s\n", dmarc_result_name(r->dmarc.result), r->dmarc.reason);
    printf("       the policy would apply: %s\n\n%.*s", dmarc_policy_name(applied(r)), STR_ARG(field));
}

static int exit_code(enum dmarc_result result)
{
    switch (result) {
    case DMARC_FAIL:
        return CLI_NO;
    case DMARC_TEMPERROR:
        return CLI_TEMPORARY;
    case DMARC_PERMERROR:
        return CLI_BAD_INPUT;
    default:
        return CLI_FINE;
    }
}

static int judge(struct run *r)
{
    struct buf field;

    evaluate(r);
    buf_init(&field, ANSWER_BYTES_MAX);
    write_field(r, &field);
    if (r->options->json)
        print_json(r, buf_str(&field));
    else
        print_text(r, buf_str(&field));
    buf_fini(&field);
    dkim_verify_cancel(&r->verifier);
    arc_verify_cancel(&r->arc_verifier);
    return exit_code(r->dmarc.result);
}

int cli_test_message(int argc, char **argv)
{
    struct options o = {.now_unix = -1};
    struct run r = {.options = &o};
    struct fail fail;
    int code = read_options(argc, argv, &o);

    if (code != CLI_FINE)
        return code;
    code = cli_lookup_open(&r.lookup, o.config_file, o.dns);
    if (code != CLI_FINE)
        return code;
    if (test_message_read(r.lookup.mem, o.file, &r.message, &fail) < 0) {
        fprintf(stderr, "smtpguard: %s\n", fail.text);
        code = CLI_BAD_INPUT;
    } else {
        code = judge(&r);
    }
    test_message_fini(&r.message);
    return cli_lookup_end(&r.lookup, code);
}
