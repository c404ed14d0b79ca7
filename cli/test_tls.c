#include "cli/test_tls.h"

#include "base/clock.h"
#include "cli/lookup_options.h"
#include "config/value.h"

#include <stdio.h>
#include <string.h>

enum {
    OPTION_NAME = LOOKUP_OPTION_OWN,
    OPTION_IMPLICIT,
    SMTP_PORT = 25,
    SUBMISSIONS_PORT = 465, /* RFC 8314 3.3 */
    STEP_MS = 10 * 1000,    /* for each step; some servers let a new client wait on purpose */
    WITHIN_MS = 60 * 1000,  /* for all of a visit */
    DAY_S = 24 * 3600,
    SOON_DAYS = 21, /* who renews by a program has done so by then */
};

static const char words[] = "test tls";

struct options {
    struct lookup_options lookup;
    const char *name, *where;
    bool implicit;
};

struct run {
    struct cli_lookup lookup;
    struct visit_ask ask;
    bool by_name; /* whose addresses the DNS has */
    struct addresses found;
    struct test_tls t;
};

static int take_option(int option, void *arg)
{
    struct options *o = arg;

    if (option == OPTION_NAME)
        o->name = optarg;
    else
        o->implicit = true;
    return CLI_FINE;
}

static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option own[] = {
        {"name", required_argument, NULL, OPTION_NAME},
        {"implicit", no_argument, NULL, OPTION_IMPLICIT},
        {0},
    };
    int code = lookup_options_read(words, argc, argv, own, take_option, o, &o->lookup);

    if (code != CLI_FINE)
        return code;
    if (optind + 1 != argc)
        return cli_usage(words, "one server, please: its name, or its address");
    o->where = argv[optind];
    return CLI_FINE;
}

/* ---- who is to be visited ---- */

static bool has_letter(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (!ascii_is_digit(text.p[i]) && text.p[i] != '.')
            return true;
    return false;
}

static bool is_literal(struct str text)
{
    return text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']';
}

/* "mx.test", "mx.test:25", "192.0.2.1", "192.0.2.1:25", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:25" */
static int read_where(struct run *r, const struct options *o)
{
    uint16_t port = o->implicit ? SUBMISSIONS_PORT : SMTP_PORT;
    struct str where = str_of(o->where), host, digits;
    struct arena *mem = r->lookup.mem;
    struct fail fail;
    uint64_t number = port;

    if (is_literal(where))
        where = str_make(where.p + 1, where.n - 2);
    if (value_endpoint(where, port, &r->ask.at, &fail) == 0) {
        r->t.host = ip_text(mem, &r->ask.at.ip);
        return CLI_FINE;
    }
    if (str_cut(where, ':', &host, &digits) && (!str_to_u64(digits, UINT16_MAX, &number) || number == 0))
        return cli_usage(words, "\"%s\": a port is 1 to 65535, and an IPv6 address with one stands in brackets", o->where);
    if (!has_letter(host) || value_domain(mem, host, &r->t.host, &fail) < 0)
        return cli_usage(words, "%s", fail.text);
    r->by_name = true;
    r->ask.at.port = (uint16_t)number;
    return CLI_FINE;
}

static int read_name(struct run *r, const struct options *o)
{
    struct fail fail;
    struct ip ip;

    r->t.name = r->t.host;
    if (o->name == NULL)
        return CLI_FINE;
    if (ip_parse(str_of(o->name), &ip))
        r->t.name = ip_text(r->lookup.mem, &ip);
    else if (value_domain(r->lookup.mem, str_of(o->name), &r->t.name, &fail) < 0)
        return cli_usage(words, "--name: %s", fail.text);
    return CLI_FINE;
}

/* ---- the visit ---- */

static void add_step(struct test_tls *t, struct visit_step step)
{
    if (t->steps_count < TEST_TLS_STEPS_MAX)
        t->steps[t->steps_count++] = step;
}

static void find_addresses(struct run *r)
{
    struct arena *mem = r->lookup.mem;
    int64_t begun = clock_mono_ms(clock_system());
    const char *all = "";

    if (!r->by_name) {
        r->found.list[r->found.count++] = r->ask.at;
        return;
    }
    cli_visit_find(&r->lookup, r->t.host, r->ask.at.port, &r->found);
    for (size_t i = 0; i < r->found.count; i++)
        all = str_fmt(mem, "%s%s%s", all, i > 0 ? ", " : "", ip_text(mem, &r->found.list[i].ip));
    if (r->found.count == 0)
        all = r->found.why;
    add_step(&r->t, (struct visit_step){"address", all, clock_mono_ms(clock_system()) - begun});
}

static void visit(struct run *r, const struct endpoint *at)
{
    struct test_tls *t = &r->t;

    r->ask.at = *at;
    t->address = endpoint_text(r->lookup.mem, at);
    cli_visit(&r->lookup, &r->ask, &t->visit);
    for (size_t i = 0; i < t->visit.steps_count; i++) {
        struct visit_step step = t->visit.steps[i];

        if (strcmp(step.step, "connect") == 0)
            step.answer = str_fmt(r->lookup.mem, "%s: %s", t->address, step.answer);
        add_step(t, step);
    }
}

/* ---- what to think of it ---- */

static void note(struct run *r, const char *fault)
{
    r->t.reason = r->t.reason == NULL ? fault : str_fmt(r->lookup.mem, "%s; %s", r->t.reason, fault);
}

/* What works, and will not for long, or not with everybody. */
static void warn(struct run *r)
{
    int64_t left_s = r->t.peer.not_after_unix - r->t.now_unix;
    const char *version = r->t.visit.version;

    if (left_s < SOON_DAYS * DAY_S)
        note(r, str_fmt(r->lookup.mem, "the certificate is good for %lld more days only", (long long)(left_s / DAY_S)));
    if (strcmp(version, "TLSv1") == 0 || strcmp(version, "TLSv1.1") == 0)
        note(r, str_fmt(r->lookup.mem, "%s is given up by most (RFC 8996)", version));
}

static int judge_peer(struct run *r)
{
    struct test_tls *t = &r->t;
    struct fail fail;

    t->has_peer = tls_peer_read(r->lookup.mem, t->visit.chain, t->visit.chain_count, t->name, t->now_unix,
                                &t->peer, &fail) == 0;
    if (!t->has_peer) {
        note(r, str_dup(r->lookup.mem, str_of(fail.text)));
        return CLI_NO;
    }
    if (!t->peer.trusted)
        note(r, str_fmt(r->lookup.mem, "the certificate is not trusted: %s", t->peer.distrust));
    if (!t->peer.has_name)
        note(r, str_fmt(r->lookup.mem, "the certificate does not name %s", t->name));
    if (t->reason != NULL)
        return CLI_NO;
    warn(r);
    return CLI_FINE;
}

static int judge(struct run *r)
{
    struct test_tls *t = &r->t;

    if (r->found.count == 0) {
        note(r, str_fmt(r->lookup.mem, "its name has no address: %s", r->found.why));
        return r->found.temporary ? CLI_TEMPORARY : CLI_UNREACHABLE;
    }
    if (t->visit.trouble != NULL)
        note(r, t->visit.trouble);
    if (t->visit.version != NULL)
        return judge_peer(r);
    return t->visit.ready || t->visit.tls_tried ? CLI_NO : CLI_UNREACHABLE;
}

static int find_out(struct run *r, const struct options *o)
{
    int code = read_where(r, o);

    if (code == CLI_FINE)
        code = read_name(r, o);
    if (code != CLI_FINE)
        return code;
    r->ask.tls = o->implicit ? VISIT_IMPLICIT : VISIT_STARTTLS;
    r->ask.server_name = r->t.name;
    r->ask.within_ms = WITHIN_MS;
    r->ask.step_ms = STEP_MS;
    find_addresses(r);
    for (size_t i = 0; i < r->found.count && !r->t.visit.connected; i++)
        visit(r, &r->found.list[i]);
    r->t.now_unix = clock_unix(clock_system());
    code = judge(r);
    if (o->lookup.json)
        cli_test_tls_json(&r->t);
    else
        cli_test_tls_text(&r->t);
    return code;
}

int cli_test_tls(int argc, char **argv)
{
    struct options o = {0};
    struct run r = {0};
    int code = read_options(argc, argv, &o);

    if (code == CLI_FINE)
        code = cli_lookup_open(&r.lookup, o.lookup.config_file, o.lookup.dns);
    if (code != CLI_FINE)
        return code;
    return cli_lookup_end(&r.lookup, find_out(&r, &o));
}
