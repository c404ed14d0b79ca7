#include "cli/greylist.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/*
 * import: what postgrey remembers becomes ours. Its triples are "network/sender/recipient" in lower case with
 * "first,last" (seconds), its clients "address" with "count,last". It knows clients by their network alone, and
 * so they are kept; grey_start() asks for the network, too, before anybody has to wait.
 */

enum { TOGETHER_MAX = 1000, SHA1_DIGITS = 40 };

struct importing {
    struct cli_greylist *greylist;
    struct arena *mem; /* of one row */
    uint64_t rows, hashed, odd, changed;
    int code;
};

static void on_merged(enum store_status status, const void *result, void *arg)
{
    struct importing *i = arg;

    i->changed += status == STORE_DONE && *(const bool *)result;
    cli_on_change(status, result, &i->greylist->waiting);
}

static void merge(struct importing *i, struct str key, bool is_triple, const struct grey_memory *memory)
{
    struct cli_greylist *g = i->greylist;

    i->rows++;
    g->waiting.count++;
    grey_book_merge(g->store, g->lookup.loop, &g->lookup.config->greylist, key, is_triple, memory,
                    g->now_unix, on_merged, i);
    if (g->waiting.count >= TOGETHER_MAX)
        i->code = cli_wait(&g->waiting);
}

static bool read_pair(struct str value, int64_t *left_out, int64_t *right_out)
{
    struct str left, right, client;
    uint64_t numbers[2];

    if (!str_cut(value, ',', &left, &right))
        return false;
    str_cut(right, ',', &right, &client); /* older versions add the host */
    if (!str_to_u64(left, INT64_MAX, &numbers[0]) || !str_to_u64(right, INT64_MAX, &numbers[1]))
        return false;
    *left_out = (int64_t)numbers[0];
    *right_out = (int64_t)numbers[1];
    return true;
}

/* Both addresses may have a "/" in the local part, but a domain has none. */
static bool cut_addresses(struct str addresses, struct str *sender_out, struct str *recipient_out)
{
    size_t slash = str_find(addresses, '/'), at = str_find(addresses, '@');
    size_t behind_domain = at + str_find(str_from(addresses, at), '/');

    if (slash > 0 && behind_domain < addresses.n) /* the sender has a domain */
        slash = behind_domain;
    *sender_out = str_upto(addresses, slash);
    *recipient_out = str_from(addresses, slash < addresses.n ? slash + 1 : slash);
    return recipient_out->n > 0;
}

/* --lookup-by-host writes the address with its prefix: 192.0.2.7/32/sender/recipient. */
static struct str without_prefix(struct str addresses, const struct ip *ip)
{
    const char *prefix = ip->family == 4 ? "32/" : "128/";

    return str_starts(addresses, str_of(prefix)) ? str_from(addresses, strlen(prefix)) : addresses;
}

static bool import_triple(struct importing *i, const struct cli_postgrey_row *row)
{
    const struct grey_settings *settings = &i->greylist->lookup.config->greylist;
    struct grey_memory memory = {0};
    struct grey_triple *triple = &memory.triple;
    struct str network, addresses, sender, recipient;
    struct ip ip;

    if (!str_cut(row->key, '/', &network, &addresses) || !ip_parse(network, &ip) ||
        !cut_addresses(without_prefix(addresses, &ip), &sender, &recipient) ||
        !read_pair(row->value, &triple->first_unix, &triple->last_unix) || triple->first_unix == 0)
        return false;
    if (triple->last_unix - triple->first_unix >= settings->delay_s)
        triple->passed_unix = triple->last_unix;
    merge(i, grey_key(i->mem, grey_network_identity(i->mem, settings, &ip), sender, recipient), true,
          &memory);
    return true;
}

static bool import_client(struct importing *i, const struct cli_postgrey_row *row)
{
    const struct grey_settings *settings = &i->greylist->lookup.config->greylist;
    struct grey_memory memory = {0};
    struct grey_deliveries *client = &memory.client;
    int64_t count;
    struct ip ip;

    if (!ip_parse(row->key, &ip) || !read_pair(row->value, &count, &client->last_unix) || count <= 0)
        return false;
    client->count = count < UINT32_MAX ? (unsigned)count : UINT32_MAX;
    client->counted_unix = client->last_unix;
    merge(i, grey_client_key(i->mem, grey_network_identity(i->mem, settings, &ip)), false, &memory);
    return true;
}

static bool is_hash(struct str key)
{
    for (size_t i = 0; i < key.n; i++)
        if (ascii_hex(key.p[i]) < 0)
            return false;
    return key.n == SHA1_DIGITS;
}

static bool on_row(const struct cli_postgrey_row *row, void *arg)
{
    struct importing *i = arg;

    arena_reset(i->mem);
    if (is_hash(row->key))
        i->hashed++;
    else
        i->odd += !(row->is_client ? import_client : import_triple)(i, row);
    return i->code == CLI_FINE;
}

static int tell(const struct importing *i)
{
    if (i->greylist->options.json)
        printf("{\"rows\":%" PRIu64 ",\"changed\":%" PRIu64 ",\"hashed\":%" PRIu64 ",\"odd\":%" PRIu64 "}\n",
               i->rows, i->changed, i->hashed, i->odd);
    else
        fprintf(stderr, "%" PRIu64 " rows, %" PRIu64 " of them new or better; %" PRIu64 " not understood\n",
                i->rows, i->changed, i->odd);
    if (i->hashed > 0)
        fprintf(stderr,
                "smtpguard greylist import: %" PRIu64
                " rows are hashes (postgrey --privacy), which nobody can read back\n",
                i->hashed);
    return i->hashed > 0 && i->rows == 0 ? CLI_BAD_INPUT : CLI_FINE;
}

static int import(struct cli_greylist *g)
{
    struct importing i = {.greylist = g, .mem = arena_new(0)};
    struct fail fail;
    int outcome = cli_postgrey_read(g->options.word, on_row, &i, &fail), waited = cli_wait(&g->waiting);

    arena_free(&i.mem);
    if (outcome != 0) {
        fprintf(stderr, "smtpguard greylist import: %s\n", fail.text);
        return CLI_BAD_INPUT;
    }
    if (i.code != CLI_FINE || waited != CLI_FINE)
        return CLI_UNREACHABLE;
    return tell(&i);
}

int cli_greylist_import(int argc, char **argv)
{
    struct cli_greylist g;
    int code = cli_greylist_open(&g, "greylist import", argc, argv, true);

    if (code == CLI_FINE && g.options.from == NULL)
        code = cli_usage("greylist import", "--from postgrey is missing");
    if (code == CLI_FINE)
        code = import(&g);
    cli_greylist_close(&g);
    return code;
}
