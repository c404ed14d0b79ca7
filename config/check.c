#include "base/bug.h"
#include "config/loading.h"
#include "smtp/address.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What one key alone cannot tell: keys that contradict each other, files that are not there. */

static bool is_given(const struct loading *l, const char *path)
{
    const struct entry *entry = loading_entry(l, path);

    return entry != NULL && (entry->node->at.line > 0 || entry->node->at.variable != NULL);
}

static bool is_empty_list(const struct loading *l, const char *path)
{
    const struct entry *entry = loading_entry(l, path);

    return entry != NULL && entry->node->kind == YAML_LIST && entry->node->count == 0;
}

static bool endpoint_same(const struct endpoint *a, const struct endpoint *b)
{
    return a->port == b->port && ip_eq(&a->ip, &b->ip);
}

/* [::] listens on IPv4 too. */
static bool collide(const struct endpoint *a, const struct endpoint *b)
{
    if (a->ip.family == 0 || b->ip.family == 0)
        return false; /* complained of already */
    return endpoint_same(a, b) || (a->port == b->port && ip_is_any(&a->ip) && ip_is_any(&b->ip));
}

/* Would who connects to `to` come in at `at`? */
static bool reaches(const struct endpoint *at, const struct endpoint *to)
{
    return collide(at, to) ||
           (at->ip.family != 0 && at->port == to->port && ip_is_any(&at->ip) && ip_is_loopback(&to->ip));
}

static const struct place *place_in(const struct loading *l, const char *list, size_t i, const char *key,
                                    const char **path_out)
{
    *path_out = str_fmt(l->mem, "%s[%zu].%s", list, i, key);
    return loading_place(l, *path_out);
}

static void check_listens(struct loading *l)
{
    const struct config *config = l->config;
    const char *path;

    if (is_empty_list(l, "listen"))
        fault_at(&l->faults, loading_place(l, "listen"), "listen: is empty; one address at least is wanted");
    for (size_t i = 0; i < config->listens_count; i++) {
        const struct listen_settings *own = &config->listens[i];
        const struct place *at = place_in(l, "listen", i, "address", &path);

        if (collide(&own->address, &config->admin.http))
            fault_at(&l->faults, at, "%s: admin.http is at the same address", path);
        for (size_t j = 0; j < i; j++)
            if (collide(&own->address, &config->listens[j].address))
                fault_at(&l->faults, at, "%s: listen[%zu] has this address already", path, j);
        at = place_in(l, "listen", i, "name", &path);
        for (size_t j = 0; j < i; j++)
            if (own->name != NULL && config->listens[j].name != NULL &&
                strcmp(own->name, config->listens[j].name) == 0)
                fault_at(&l->faults, at, "%s: \"%s\" is the name of listen[%zu] already", path, own->name, j);
    }
}

static bool backend_same(const struct backend_settings *a, const struct backend_settings *b)
{
    if (a->path != NULL || b->path != NULL)
        return a->path != NULL && b->path != NULL && strcmp(a->path, b->path) == 0;
    if (a->host != NULL || b->host != NULL)
        return a->host != NULL && b->host != NULL && strcmp(a->host, b->host) == 0 &&
               a->endpoint.port == b->endpoint.port;
    return a->endpoint.ip.family != 0 && endpoint_same(&a->endpoint, &b->endpoint);
}

/* What a certificate is to be held against, and whether that can be done at all. */
static void check_backend_tls(struct loading *l, size_t i)
{
    const struct backend_settings *own = &l->config->backends[i];
    bool has_name = own->tls_name != NULL && *own->tls_name != '\0';
    bool has_ca = own->tls_ca != NULL && *own->tls_ca != '\0', has_pins = own->tls_pins_count > 0;
    struct tls_client_settings verify = config_backend_tls(own);
    const char *path, *ca_path;
    const struct place *at = place_in(l, "backends", i, "tls", &path);
    const struct place *ca_at = place_in(l, "backends", i, "tls_ca", &ca_path);
    struct tls_context *context = NULL;
    struct fail fail;

    if (own->tls != BACKEND_TLS_VERIFY && (has_name || has_ca || has_pins))
        fault_at(&l->faults, at, "%s: tls_name, tls_ca and tls_pin are for tls: verify", path);
    else if (has_pins && (has_name || has_ca))
        fault_at(&l->faults, at, "%s: tls_pin takes the place of tls_name and tls_ca", path);
    else if (own->tls == BACKEND_TLS_VERIFY && own->path != NULL && !has_name && !has_pins)
        fault_at(&l->faults, at, "%s: a socket has no name to verify; write tls_name or tls_pin", path);
    else if (own->tls == BACKEND_TLS_VERIFY && (context = tls_verifying_context(&verify, &fail)) == NULL)
        fault_at(&l->faults, has_ca ? ca_at : at, "%s: %s", has_ca ? ca_path : path, fail.text);
    tls_context_unref(&context);
}

static void check_backends(struct loading *l)
{
    const struct config *config = l->config;
    const char *path;

    if (is_empty_list(l, "backends"))
        fault_at(&l->faults, loading_place(l, "backends"),
                 "backends: is empty; one address at least is wanted");
    for (size_t i = 0; i < config->backends_count; i++) {
        const struct endpoint *own = &config->backends[i].endpoint;
        const struct place *at = place_in(l, "backends", i, "address", &path);

        for (size_t j = 0; j < config->listens_count; j++)
            if (reaches(&config->listens[j].address, own))
                fault_at(&l->faults, at,
                         "%s: this is where listen[%zu] listens; mail would go round in a circle", path, j);
        for (size_t j = 0; j < i; j++)
            if (backend_same(&config->backends[i], &config->backends[j]))
                fault_at(&l->faults, at, "%s: backends[%zu] has this address already", path, j);
        check_backend_tls(l, i);
    }
}

static bool is_taken_by_a_backend(const struct config *config, const struct relay_domain *domain)
{
    for (size_t i = 0; i < config->backends_count; i++) {
        const struct domain_settings *own = &config->backends[i].domains;

        if (own->relay_count == 0 || domain_settings_has(own, str_of(domain->name)))
            return true;
        for (size_t j = 0; j < own->relay_count; j++)
            if (domain->below && own->relay[j].below && strcmp(own->relay[j].name, domain->name) == 0)
                return true;
    }
    return false;
}

/* Mail that is accepted must have somewhere to go. */
static void check_routes(struct loading *l)
{
    const struct config *config = l->config;
    const struct domain_settings *domains = &config->domains;

    for (size_t i = 0; i < domains->relay_count && config->backends_count > 0; i++)
        if (!is_taken_by_a_backend(config, &domains->relay[i])) {
            fault_at(
                &l->faults, loading_place(l, "backends[0].domains"),
                "backends[0].domains: no backend takes mail for \"%s%s\" of domains.%s; one without domains "
                "takes all others",
                domains->relay[i].below ? "." : "", domains->relay[i].name,
                domains->file != NULL && *domains->file != '\0' ? "relay or its file" : "relay");
            return;
        }
}

static void check_networks(struct loading *l)
{
    const struct entry *entry = loading_entry(l, "networks");
    const struct yaml_node *item = entry != NULL ? entry->node->first : NULL;

    for (size_t i = 0; i < l->config->networks.count && item != NULL; i++, item = item->next)
        if (l->config->networks.nets[i].ip.family != 0 && l->config->networks.nets[i].bits == 0)
            fault_at(&l->faults, &item->at, "networks: \"%.*s\" is everybody: an open relay",
                     STR_ARG(item->text));
}

static void check_lists(struct loading *l)
{
    const struct dnsbl_settings *dnsbl = &l->config->dnsbl;
    const char *path;

    for (size_t i = 0; i < dnsbl->lists_count; i++)
        for (size_t j = 0; j < i; j++) {
            const struct place *at = place_in(l, "dnsbl.lists", i, "zone", &path);

            if (dnsbl->lists[i].zone != NULL && dnsbl->lists[j].zone != NULL &&
                strcmp(dnsbl->lists[i].zone, dnsbl->lists[j].zone) == 0)
                fault_at(&l->faults, at, "%s: dnsbl.lists[%zu] is this zone already", path, j);
        }
}

/* At the one of two keys that somebody wrote. */
static void check_greylist(struct loading *l)
{
    const struct grey_settings *grey = &l->config->greylist;
    const char *at = is_given(l, "greylist.delay") ? "greylist.delay" : "greylist.window";

    if (grey->delay_s > 0 && grey->window_s > 0 && grey->delay_s >= grey->window_s)
        fault_at(&l->faults, loading_place(l, at),
                 "%s: the delay (%llds) must be less than the window (%llds)", at, (long long)grey->delay_s,
                 (long long)grey->window_s);
}

/* A folder that is missing is the daemon's to warn of: it may be made after the settings were written. */
static void check_spool(struct loading *l)
{
    const char *dir = l->config->limits.spool_dir;
    struct stat st;

    if (dir == NULL)
        return;
    if (*dir == '\0' || (l->complete && stat(dir, &st) == 0 && !S_ISDIR(st.st_mode)))
        fault_at(&l->faults, loading_place(l, "limits.spool_dir"), "limits.spool_dir: \"%s\" is not a folder",
                 dir);
}

/* ---- certificates ---- */

static bool is_readable(struct loading *l, const char *file, const char *path)
{
    const struct place *at = loading_place(l, path);
    const char *origin = at->line == 0 && at->variable == NULL ? " (the default)" : "";
    int fd;

    if (file == NULL)
        return false; /* complained of already */
    fd = *file != '\0' ? open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd >= 0)
        close(fd);
    else if (*file == '\0')
        fault_at(&l->faults, at, "%s: is empty; a PEM file is wanted", path);
    else
        fault_at(&l->faults, at, "%s: %s%s cannot be read: %s", path, file, origin, strerror(errno));
    return fd >= 0;
}

static bool opens(const struct tls_settings *tls, struct fail *fail)
{
    struct tls_context *context = tls_server_context(tls, fail);
    bool fine = context != NULL;

    tls_context_unref(&context);
    return fine;
}

/* One pair alone, without the cipher list, so that the fault is told at the right key. */
static bool check_pair(struct loading *l, const struct tls_pair *pair, const char *cert_path,
                       const char *key_path)
{
    struct tls_settings alone = {.pair = *pair, .min_version = l->config->tls.min_version, .ciphers = ""};
    bool cert = is_readable(l, pair->cert, cert_path), key = is_readable(l, pair->key, key_path);
    struct fail fail;

    if (!cert || !key)
        return false;
    if (opens(&alone, &fail))
        return true;
    fault_at(&l->faults, loading_place(l, cert_path), "%s: %s", cert_path, fail.text);
    return false;
}

static bool is_tls_wanted(const struct loading *l)
{
    for (size_t i = 0; i < l->config->listens_count; i++)
        if (l->config->listens[i].tls != LISTEN_TLS_NONE)
            return true;
    return is_given(l, "tls.cert") && *l->config->tls.pair.cert != '\0';
}

static void check_tls(struct loading *l)
{
    struct tls_settings *tls = &l->config->tls;
    bool pairs_fine;
    struct fail fail;

    if (tls->pair.cert == NULL || tls->pair.key == NULL || !l->complete)
        return;
    if (!is_tls_wanted(l)) {
        tls->pair = (struct tls_pair){"", ""};
        return;
    }
    pairs_fine = check_pair(l, &tls->pair, "tls.cert", "tls.key");
    for (size_t i = 0; i < tls->more_count; i++) {
        const char *cert, *key;

        place_in(l, "tls.more", i, "cert", &cert);
        place_in(l, "tls.more", i, "key", &key);
        pairs_fine = check_pair(l, &tls->more[i], cert, key) && pairs_fine;
    }
    if (pairs_fine && !opens(tls, &fail))
        fault_at(&l->faults, loading_place(l, "tls.ciphers"), "tls.ciphers: %s", fail.text);
}

/* ---- signing ---- */

/* The keys are read to see that they can be; the daemon reads them again, and keeps them. */
static void check_keys(struct loading *l)
{
    struct str line, rest;
    struct buf faults, warnings;
    struct dkim_keyring *ring;

    buf_init(&faults, 64 * 1024);
    buf_init(&warnings, 64 * 1024);
    ring = dkim_keyring_load(&l->config->signing, &faults, &warnings);
    dkim_keyring_unref(&ring);
    for (rest = buf_str(&faults); rest.n > 0;) {
        str_cut(rest, '\n', &line, &rest);
        fault_at(&l->faults, loading_place(l, "dkim.sign.mode"), "dkim.sign: %.*s", STR_ARG(line));
    }
    buf_fini(&faults);
    buf_fini(&warnings);
}

static void check_signing(struct loading *l)
{
    const struct dkim_keyring_settings *sign = &l->config->signing;
    bool has_signing_table = sign->signing_table != NULL && *sign->signing_table != '\0';
    bool has_key_table = sign->key_table != NULL && *sign->key_table != '\0';

    if (has_signing_table != has_key_table)
        fault_at(&l->faults,
                 loading_place(l, has_key_table ? "dkim.sign.key_table" : "dkim.sign.signing_table"),
                 "dkim.sign: signing_table and key_table go together");
    if (sign->mode == MODE_OFF || !l->complete || has_signing_table != has_key_table)
        return;
    if (!has_signing_table && sign->keys_count == 0)
        fault_at(&l->faults, loading_place(l, "dkim.sign.mode"),
                 "dkim.sign.mode: there are no keys to sign with; write dkim.sign.keys, or the two tables");
    else if (l->faults.count == 0)
        check_keys(l);
}

/* ---- DMARC ---- */

/* Nothing could ever pass: with p=reject all mail would be refused. Modes that are no words count as off until they are
 * right, so this comes last. */
static void check_dmarc(struct loading *l)
{
    static const char *const keys[] = {"dmarc.mode", "dkim.mode", "spf.mode"};
    const struct config *config = l->config;
    size_t at = 0;

    if (l->faults.count > 0 || config->dmarc.mode == MODE_OFF || config->dkim.mode != MODE_OFF ||
        config->spf.mode != MODE_OFF)
        return;
    while (at + 1 < COUNT(keys) && !is_given(l, keys[at]))
        at++;
    fault_at(
        &l->faults, loading_place(l, keys[at]),
        "dmarc.mode: with spf.mode and dkim.mode off no message could ever pass; switch dmarc.mode off, too");
}

/* ---- reports ---- */

static void check_reports(struct loading *l)
{
    struct report_settings *reports = &l->config->reports;
    struct smtp_address from;

    if ((!reports->aggregate && !reports->failure) || reports->from == NULL)
        return;
    if (!smtp_mailbox_parse(str_of(reports->from), false, &from) || from.kind != SMTP_DOMAIN_NAME) {
        fault_at(&l->faults,
                 loading_place(l, *reports->from != '\0' ? "reports.from"
                                  : reports->aggregate   ? "reports.aggregate.enabled"
                                                         : "reports.failure.enabled"),
                 "reports.from: \"%s\" is no address; reports need one to come from", reports->from);
        return;
    }
    if (l->config->backends_count > 0 && config_report_backend(l->config) == NULL)
        fault_at(&l->faults, loading_place(l, "reports.from"),
                 "reports.from: reports leave through a backend of SMTP with an IP address, and there is "
                 "none");
    if (reports->org_name == NULL || *reports->org_name == '\0')
        reports->org_name = str_dup_lower(l->mem, from.domain);
}

/* ---- names ---- */

static void check_names(struct loading *l)
{
    struct config *config = l->config;

    if (config->hostname == NULL) /* for the tests' verbs; a daemon's settings without one have a fault */
        config->hostname = "localhost";
    if (config->authserv_id == NULL || *config->authserv_id == '\0')
        config->authserv_id = config->hostname;
    if (l->complete && is_empty_list(l, "domains.relay") && config->domains.file != NULL &&
        *config->domains.file == '\0')
        fault_at(&l->faults, loading_place(l, "domains.relay"),
                 "domains.relay: is empty, and so is domains.file; write the domains to accept mail for");
}

void check_config(struct loading *l)
{
    check_names(l);
    l->config->arc.verify.min_rsa_bits = l->config->dkim.min_rsa_bits;
    check_listens(l);
    check_backends(l);
    check_routes(l);
    check_networks(l);
    check_lists(l);
    check_greylist(l);
    check_spool(l);
    check_tls(l);
    check_signing(l);
    check_reports(l);
    check_dmarc(l);
}
