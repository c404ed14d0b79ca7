#include "cli/dkim_options.h"

#include "base/bug.h"
#include "smtp/address.h"
#include "smtp/mailbox.h"

#include <getopt.h>
#include <string.h>

enum { STRING_MAX = 255 };
enum {
    OPTION_JSON = 1000,
    OPTION_DNS,
    OPTION_DOMAIN,
    OPTION_SELECTOR,
    OPTION_KEY,
    OPTION_TYPE,
    OPTION_DIR,
    OPTION_CANON,
    OPTION_IDENTITY,
    OPTION_NOW,
    OPTION_EXPIRE,
    OPTION_OVERSIGN
};

static const struct option known[] = {{"json", no_argument, NULL, OPTION_JSON},
                                      {"dns", required_argument, NULL, OPTION_DNS},
                                      {"config", required_argument, NULL, 'c'},
                                      {"domain", required_argument, NULL, OPTION_DOMAIN},
                                      {"selector", required_argument, NULL, OPTION_SELECTOR},
                                      {"key", required_argument, NULL, OPTION_KEY},
                                      {"type", required_argument, NULL, OPTION_TYPE},
                                      {"dir", required_argument, NULL, OPTION_DIR},
                                      {"canonicalization", required_argument, NULL, OPTION_CANON},
                                      {"identity", required_argument, NULL, OPTION_IDENTITY},
                                      {"oversign", required_argument, NULL, OPTION_OVERSIGN},
                                      {"now", required_argument, NULL, OPTION_NOW},
                                      {"expire", required_argument, NULL, OPTION_EXPIRE},
                                      {0}};

static bool is_allowed(const char *allowed, const char *name)
{
    struct str word, rest = str_of(allowed);
    bool more = true;

    while (more) {
        more = str_cut(rest, ' ', &word, &rest);
        if (str_eq_z(word, name))
            return true;
    }
    return false;
}

static void choose(const char *allowed, struct option chosen[COUNT(known)])
{
    size_t n = 0;

    for (size_t i = 0; known[i].name != NULL; i++)
        if (is_allowed(allowed, known[i].name))
            chosen[n++] = known[i];
    chosen[n] = (struct option){0};
}

static int set_name(struct arena *mem, const char *words, const char *option, const char **name_out)
{
    const char *ascii = mailbox_domain_to_ascii(mem, str_of(optarg));

    /* A selector may have an underscore, which libidn2 would refuse. */
    if (ascii == NULL && smtp_is_domain(str_of(optarg)))
        ascii = str_dup_lower(mem, str_of(optarg));
    if (ascii == NULL)
        return cli_usage(words, "--%s: \"%s\" is no domain name", option, optarg);
    *name_out = ascii;
    return CLI_FINE;
}

static int set_number(const char *words, const char *option, uint64_t most, uint64_t *number_out)
{
    if (str_to_u64(str_of(optarg), most, number_out))
        return CLI_FINE;
    return cli_usage(words, "--%s: \"%s\" is not a number of seconds", option, optarg);
}

static int set_now(const char *words, struct dkim_options *o)
{
    uint64_t now_unix = 0;
    int code = set_number(words, "now", INT64_MAX / 2, &now_unix);

    o->now_unix = (int64_t)now_unix;
    return code;
}

static int set_option(struct arena *mem, const char *words, struct dkim_options *o, int option, char **argv)
{
    switch (option) {
    case OPTION_JSON:
        o->json = true;
        return CLI_FINE;
    case OPTION_DOMAIN:
        return set_name(mem, words, "domain", &o->domain);
    case OPTION_SELECTOR:
        return set_name(mem, words, "selector", &o->selector);
    case OPTION_NOW:
        return set_now(words, o);
    case OPTION_EXPIRE:
        return set_number(words, "expire", INT64_MAX / 2, &o->expire_s);
    case OPTION_DNS:
        o->dns = optarg;
        return CLI_FINE;
    case OPTION_KEY:
        o->key = optarg;
        return CLI_FINE;
    case OPTION_TYPE:
        o->type = optarg;
        return CLI_FINE;
    case OPTION_DIR:
        o->dir = optarg;
        return CLI_FINE;
    case OPTION_CANON:
        o->canonicalization = optarg;
        return CLI_FINE;
    case OPTION_IDENTITY:
        o->identity = optarg;
        return CLI_FINE;
    case OPTION_OVERSIGN:
        o->oversign = optarg;
        return CLI_FINE;
    case 'c':
        o->config_file = optarg;
        return CLI_FINE;
    default:
        return cli_usage(words, "\"%s\" is not understood", argv[optind - 1]);
    }
}

int dkim_options_read(struct arena *mem, const char *words, const char *allowed, int argc, char **argv,
                      struct dkim_options *options_out)
{
    struct option chosen[COUNT(known)];
    int option, code;

    *options_out = (struct dkim_options){.now_unix = -1};
    choose(allowed, chosen);
    opterr = 0;
    while ((option = getopt_long(argc, argv, is_allowed(allowed, "config") ? "c:" : "", chosen, NULL)) !=
           -1) {
        code = set_option(mem, words, options_out, option, argv);
        if (code != CLI_FINE)
            return code;
    }
    if (optind + 1 < argc)
        return cli_usage(words, "\"%s\" is one word too many", argv[optind + 1]);
    options_out->operand = optind < argc ? argv[optind] : NULL;
    return CLI_FINE;
}

int dkim_options_need_name(const char *words, const struct dkim_options *o)
{
    if (o->domain == NULL)
        return cli_usage(words, "which --domain?");
    if (o->selector == NULL)
        return cli_usage(words, "which --selector?");
    return CLI_FINE;
}

struct dkim_private *dkim_options_key(struct arena *mem, const char *path)
{
    const char *warning;
    struct fail fail;
    struct dkim_private *key = dkim_private_read(mem, path, &warning, &fail);

    if (key == NULL)
        fprintf(stderr, "smtpguard: %s\n", fail.text);
    if (warning != NULL)
        fprintf(stderr, "smtpguard: %s\n", warning);
    return key;
}

const char *dkim_record_as_zone(struct arena *mem, const char *name, const char *record)
{
    struct str rest = str_of(record);
    const char *zone = str_fmt(mem, "%s. IN TXT (", name);

    for (; rest.n > 0; rest = str_from(rest, rest.n < STRING_MAX ? rest.n : STRING_MAX))
        zone = str_fmt(mem, "%s\n    \"%.*s\"", zone, STR_ARG(str_upto(rest, STRING_MAX)));
    return str_fmt(mem, "%s )\n", zone);
}
