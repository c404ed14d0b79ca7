#include "cli/greylist.h"

#include "grey/normalize.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { JSON = 1000, STORE, FROM, STATE, LIMIT };

static const struct option list[] = {{"json", no_argument, NULL, JSON},
                                     {"config", required_argument, NULL, 'c'},
                                     {"store", required_argument, NULL, STORE},
                                     {"from", required_argument, NULL, FROM},
                                     {"state", required_argument, NULL, STATE},
                                     {"limit", required_argument, NULL, LIMIT},
                                     {0}};

/* ---- options ---- */

static bool is_state(const char *text)
{
    for (int i = 0; i < GREY_BOOK_STATES; i++)
        if (strcmp(text, grey_book_state_name((enum grey_book_state)i)) == 0)
            return true;
    return false;
}

static bool take_option(int option, struct cli_greylist_options *o)
{
    switch (option) {
    case JSON:
        return o->json = true;
    case 'c':
        o->config_file = optarg;
        return true;
    case STORE:
        o->store_url = optarg;
        return true;
    case FROM:
        o->from = optarg;
        return strcmp(optarg, "postgrey") == 0;
    case STATE:
        o->state = optarg;
        return is_state(optarg);
    case LIMIT:
        return str_to_u64(str_of(optarg), UINT64_MAX, &o->limit);
    default:
        return false;
    }
}

static int read_options(struct cli_greylist *g, int argc, char **argv, bool takes_word)
{
    int option;

    opterr = 0;
    g->options.limit = UINT64_MAX;
    while ((option = getopt_long(argc, argv, "c:", list, NULL)) != -1)
        if (!take_option(option, &g->options))
            return cli_usage(g->verb, "\"%s\" is not understood", argv[optind - 1]);
    if (takes_word && optind < argc)
        g->options.word = argv[optind++];
    if (optind < argc)
        return cli_usage(g->verb, "\"%s\" is one word too many", argv[optind]);
    return !takes_word || g->options.word != NULL ? CLI_FINE : cli_usage(g->verb, "a word is missing");
}

/* ---- whom ---- */

static int find_whom(struct cli_greylist *g)
{
    struct str word = str_of(g->options.word);
    struct fail fail;

    if (word.n == 0 || g->options.from != NULL)
        return CLI_FINE;
    if (str_has(word, '@')) {
        g->sender = normalize_sender(g->lookup.mem, word);
        g->recipient = normalize_recipient(g->lookup.mem, word);
        return CLI_FINE;
    }
    g->identities_count =
        grey_book_names(g->lookup.mem, &g->lookup.config->greylist, word, g->identities, &fail);
    return g->identities_count > 0 ? CLI_FINE : cli_usage(g->verb, "%s", fail.text);
}

/* With --store the settings are not needed. */
int cli_greylist_open(struct cli_greylist *g, const char *verb, int argc, char **argv, bool takes_word)
{
    const char *file;
    int code;

    *g = (struct cli_greylist){.verb = verb, .now_unix = clock_unix(clock_system())};
    code = read_options(g, argc, argv, takes_word);
    if (code != CLI_FINE)
        return code;
    file = g->options.config_file != NULL ? g->options.config_file
           : g->options.store_url != NULL ? NULL
                                          : CLI_CONFIG_FILE;
    code = cli_lookup_open(&g->lookup, file, NULL);
    if (code == CLI_FINE)
        code = find_whom(g);
    if (code != CLI_FINE)
        return code;
    g->waiting.loop = g->lookup.loop;
    g->store = cli_store_open(verb, &g->lookup.config->store, g->options.store_url, &code);
    return code;
}

void cli_greylist_close(struct cli_greylist *g)
{
    store_close(&g->store);
    cli_lookup_close(&g->lookup);
}

/* ---- entries ---- */

struct filter {
    const struct cli_greylist *greylist;
    grey_book_each_fn *each;
    void *arg;
};

static bool on_entry(const struct grey_book_entry *entry, void *arg)
{
    const struct filter *filter = arg;
    const struct cli_greylist *g = filter->greylist;
    bool is_mail =
        entry->is_triple && (str_eq(entry->sender, g->sender) || str_eq(entry->recipient, g->recipient));

    return (g->sender.n > 0 && !is_mail) || filter->each(entry, filter->arg);
}

int cli_greylist_each(struct cli_greylist *g, grey_book_each_fn *each, void *arg)
{
    struct filter filter = {g, each, arg};
    struct fail fail;
    int i = 0;

    do { /* once for all, or once for each identity */
        if (grey_book_each(g->store, &g->lookup.config->greylist, g->identities[i], g->now_unix, on_entry,
                           &filter, &fail) != 0) {
            fprintf(stderr, "smtpguard %s: %s\n", g->verb, fail.text);
            return CLI_UNREACHABLE;
        }
    } while (++i < g->identities_count);
    return CLI_FINE;
}

static void put_time(struct json *json, const char *key, int64_t time_unix)
{
    json_key(json, key);
    if (time_unix > 0)
        json_int(json, time_unix);
    else
        json_null(json);
}

static void put_address(struct json *json, const char *key, const struct grey_book_entry *entry,
                        struct str address)
{
    json_key(json, key);
    if (entry->is_triple)
        json_str(json, address);
    else
        json_null(json);
}

void cli_greylist_print_json(struct json *json, const struct grey_book_entry *entry)
{
    const struct grey_triple *triple = &entry->memory.triple;
    const struct grey_deliveries *client = &entry->memory.client;

    json_object(json);
    json_put_str(json, "client", entry->client);
    put_address(json, "sender", entry, entry->sender);
    put_address(json, "recipient", entry, entry->recipient);
    json_put_z(json, "state", grey_book_state_name(entry->state));
    put_time(json, "first", client->allowed ? client->counted_unix : triple->first_unix);
    put_time(json, "passed", triple->passed_unix);
    put_time(json, "last", entry->is_triple ? triple->last_unix : client->last_unix);
    json_put_int(json, "deliveries", client->count);
    put_time(json, "until", entry->until_unix);
    json_object_end(json);
}

static void print_addresses(const struct grey_book_entry *entry)
{
    printf("  <");
    cli_print(entry->sender);
    printf("> to <");
    cli_print(entry->recipient);
    putchar('>');
}

void cli_greylist_print(const struct grey_book_entry *entry, int64_t delay_s)
{
    const struct grey_triple *triple = &entry->memory.triple;
    const struct grey_deliveries *client = &entry->memory.client;

    printf("%-8s ", grey_book_state_name(entry->state));
    cli_print_time(entry->is_triple  ? triple->last_unix
               : client->allowed ? client->counted_unix
                                 : client->last_unix);
    putchar(' ');
    cli_print(entry->client);
    if (entry->is_triple)
        print_addresses(entry);
    if (entry->state == GREY_BOOK_WAITING) {
        printf("  passes from ");
        cli_print_time(triple->first_unix + delay_s);
    }
    if (entry->state == GREY_BOOK_COUNTED || entry->state == GREY_BOOK_TRUSTED)
        printf("  %u deliver%s", client->count, client->count == 1 ? "y" : "ies");
    putchar('\n');
}
