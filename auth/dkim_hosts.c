#include "auth/dkim_hosts.h"

#include "auth/dkim_rows.h"
#include "smtp/address.h"

#include <string.h>

struct host_row {
    bool negated;
    struct str name; /* empty: a network */
    struct net net;
};

struct dkim_hosts {
    struct host_row *rows;
    size_t count;
};

/* "[2001:db8::1]/64" and "[192.0.2.1]" without their brackets. */
static struct str without_brackets(struct arena *mem, struct str text)
{
    size_t close = str_find(text, ']');

    if (text.n == 0 || text.p[0] != '[' || close == text.n)
        return text;
    return str_of(
        str_fmt(mem, "%.*s%.*s", (int)close - 1, text.p + 1, (int)(text.n - close - 1), text.p + close + 1));
}

static bool looks_like_network(struct str text)
{
    bool digits = text.n > 0;

    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == ':' || text.p[i] == '/')
            return true;
        digits = digits && (ascii_is_digit(text.p[i]) || text.p[i] == '.');
    }
    return digits;
}

static bool row_parse(struct arena *mem, struct str text, struct host_row *row_out, struct fail *fail)
{
    struct str name;

    row_out->negated = text.n > 0 && text.p[0] == '!';
    text = without_brackets(mem, str_from(text, row_out->negated ? 1 : 0));
    if (looks_like_network(text))
        return net_parse(text, &row_out->net, fail) == 0;
    name = str_from(text, text.n > 0 && text.p[0] == '.' ? 1 : 0);
    row_out->name = text;
    if (!smtp_is_domain(name)) {
        fail_set(fail, "\"%.*s\" is neither a host nor a network", STR_ARG(text));
        return false;
    }
    return true;
}

static const struct dkim_hosts *hosts_of(struct arena *mem, const struct dkim_rows *rows, struct buf *faults,
                                         size_t faults_before)
{
    struct dkim_hosts *hosts = ARENA_NEW(mem, struct dkim_hosts);
    struct fail fail;

    hosts->rows = ARENA_ARRAY(mem, struct host_row, rows->count);
    for (size_t i = 0; i < rows->count; i++)
        if (row_parse(mem, rows->rows[i].key, &hosts->rows[hosts->count], &fail))
            hosts->count++;
        else
            dkim_rows_fault(rows, &rows->rows[i], faults, "%s", fail.text);
    return faults->n > faults_before ? NULL : hosts;
}

const struct dkim_hosts *dkim_hosts_parse(struct arena *mem, const char *file, struct str text,
                                          struct buf *faults)
{
    size_t faults_before = faults->n;
    struct dkim_rows rows;

    dkim_rows_parse(mem, file, text, &rows, faults);
    return hosts_of(mem, &rows, faults, faults_before);
}

const struct dkim_hosts *dkim_hosts_load(struct arena *mem, const char *list, struct buf *faults)
{
    size_t faults_before = faults->n;
    struct dkim_rows rows;

    if (strncmp(list, "file:", 5) == 0)
        list += 5;
    if (!dkim_rows_read(mem, list, &rows, faults))
        return NULL;
    return hosts_of(mem, &rows, faults, faults_before);
}

/* How exactly a row means this client: 0 when it does not. */
static size_t name_fits(const struct host_row *row, struct str name)
{
    if (row->name.n == 0)
        return 0;
    if (row->name.p[0] == '.' ? name.n > row->name.n && str_ends_same(name, row->name)
                              : str_same(name, row->name))
        return row->name.n;
    return 0;
}

static size_t net_fits(const struct host_row *row, const struct ip *ip)
{
    return row->name.n == 0 && net_has(&row->net, ip) ? row->net.bits + 1u : 0;
}

bool dkim_hosts_has(const struct dkim_hosts *hosts, const struct ip *ip, const char *name)
{
    const struct host_row *best = NULL;
    size_t best_fit = 0;

    for (int round = 0; round < 2 && best == NULL; round++)
        for (size_t i = 0; i < hosts->count; i++) {
            const struct host_row *row = &hosts->rows[i];
            size_t fit = round == 0 ? name_fits(row, str_of(name)) : net_fits(row, ip);

            if (fit > best_fit || (fit > 0 && fit == best_fit && row->negated)) {
                best = row;
                best_fit = fit;
            }
        }
    return best != NULL && !best->negated;
}
