/*
 * config/config.h - the settings of a running smtpguard: one immutable snapshot
 *
 * Ownership  A snapshot owns all its strings and lists (one arena). It is reference-counted from any thread;
 *            a session keeps the one it began with. Nothing in it ever changes after config_load() returned
 *            it.
 * Errors     config_load() collects every fault, each as FILE:LINE:COL: what is wrong, what is allowed. With
 *            a fault there is no snapshot.
 * Overrides  SMTPGUARD_BACKENDS__0__ADDRESS=… replaces backends[0].address; faults name the variable.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "auth/arc.h"
#include "auth/dkim.h"
#include "auth/dkim_keyring.h"
#include "auth/dmarc.h"
#include "auth/spf.h"
#include "base/buf.h"
#include "base/ip.h"
#include "base/log.h"
#include "base/mode.h"
#include "dns/dnsbl.h"
#include "dns/resolver.h"
#include "grey/grey.h"
#include "record/keeper.h"
#include "smtp/client.h"
#include "store/store.h"
#include "tls/tls.h"

enum listen_role { ROLE_MX, ROLE_OUTBOUND };
enum listen_tls { LISTEN_TLS_NONE, LISTEN_TLS_STARTTLS, LISTEN_TLS_REQUIRE, LISTEN_TLS_IMPLICIT };

struct listen_settings {
    const char *name;
    struct endpoint address; /* "[::]:25" is dual stack */
    enum listen_role role;
    enum listen_tls tls;
    struct net_list proxy_protocol, xclient;
};

/* Domains we accept mail for. `.example.net` in the file stands as below = true. */
struct relay_domain {
    const char *name; /* lower case A-labels */
    bool below;       /* any subdomain, but not the name itself */
};
enum recipients_by { RECIPIENTS_BACKEND, RECIPIENTS_ANY, RECIPIENTS_FILE };

struct domain_settings {
    const struct relay_domain *relay; /* inline ones and those of the file, sorted by name */
    size_t relay_count;
    const char *file; /* "" when there is none */
    enum recipients_by recipients;
    const char *recipients_file; /* NULL when there is none */
    const char *const *listed;   /* of it: "user@domain" in lower case, "@domain" for all of it; sorted */
    size_t listed_count;
    int64_t remember_accepted_ms, remember_refused_ms; /* what the backend said to a recipient */
};
/* `domain` in any case. Of the order of log(relay_count) for each of its labels. */
bool domain_settings_has(const struct domain_settings *domains, struct str domain);

/* Is this address in the file? In any case; user+something is user; quoted ones are the backend's to know. The
 * domain in A-labels. */
bool domain_settings_lists(const struct domain_settings *domains, struct str local, struct str domain);

enum backend_tls { BACKEND_TLS_NEVER, BACKEND_TLS_OPPORTUNISTIC, BACKEND_TLS_REQUIRE, BACKEND_TLS_VERIFY };
enum backend_pass { PASS_XCLIENT, PASS_PROXY_V2, PASS_XFORWARD, PASS_NONE };

struct backend_settings {
    const char *address;      /* as written, for logs */
    struct endpoint endpoint; /* family 0: it has a host or a path */
    const char *host;         /* its name, to be looked up; endpoint has the port. Or NULL */
    const char *path;         /* of a Unix socket, or NULL */
    enum smtp_protocol protocol;
    struct domain_settings domains; /* the list: of recipients it is for; none: all that no other names */
    enum backend_tls tls;
    const char *tls_name; /* that its certificate must have; "": its address */
    const char *tls_ca;   /* PEM file, "": the system's */
    const struct tls_pin *tls_pins;
    size_t tls_pins_count;
    enum backend_pass pass_client;
    int64_t connect_timeout_ms, reply_timeout_ms;
    unsigned pool;
};

struct limit_settings {
    unsigned connections, connections_per_client;
    unsigned new_connections; /* per client within new_connections_ms */
    int64_t new_connections_ms;
    uint64_t message_bytes;
    unsigned recipients, errors;
    size_t header_bytes;
    unsigned header_fields, received;
    size_t line_bytes, spool_memory_bytes;
    const char *spool_dir;
    int64_t idle_ms, session_ms;
    unsigned data_rate; /* octets a second, over 60 s */
};

enum bare_ends { BARE_ENDS_REFUSE, BARE_ENDS_DROP };

struct screen_settings {
    int64_t banner_delay_ms;
    enum mode early_talker, helo, fcrdns, sender_domain;
    enum bare_ends bare_line_ends; /* never let through */
};

struct dnsbl_settings {
    enum mode mode;
    int64_t deadline_ms;
    int reject_score, greylist_score;
    const struct dnsbl_list *lists;
    size_t lists_count;
};

struct arc_policy_settings {
    struct arc_settings verify;
    const char *const *trusted_sealers;
    size_t trusted_count;
};

enum report_format { REPORT_RFC7489, REPORT_RFC9990 };

struct report_settings {
    const char *from,
        *org_name; /* org_name is never empty with a report enabled: by default the domain of `from` */
    bool aggregate;
    enum report_format format;
    int64_t at_s; /* UTC, since midnight */
    size_t max_bytes;
    unsigned daily_cap;
    const char *dry_run_dir; /* "": send */
    bool failure, failure_body, failure_redact;
    unsigned failure_per_domain; /* an hour */
    const char *const *suppress; /* domains and addresses */
    size_t suppress_count;
};

struct admin_settings {
    struct endpoint http; /* port 0 and family 0: none */
    const char *socket;   /* path of the control socket; "": none */
};

struct runtime_settings {
    unsigned workers; /* 0: one a core */
    const char *user; /* when started as root */
    int64_t drain_ms;
};

struct config {
    const char *file;
    const char *hostname, *authserv_id; /* authserv_id is never empty: hostname by default */
    enum mode mode;
    const struct listen_settings *listens;
    size_t listens_count;
    const struct backend_settings *backends;
    size_t backends_count;
    struct domain_settings domains;
    struct net_list networks;
    struct limit_settings limits;
    struct tls_settings tls;
    struct dns_settings dns;
    struct screen_settings screen;
    struct dnsbl_settings dnsbl;
    struct grey_settings greylist;
    struct spf_settings spf;
    struct dkim_settings dkim;
    struct dkim_keyring_settings signing; /* dkim.sign */
    struct arc_policy_settings arc;
    struct dmarc_settings dmarc;
    struct report_settings reports;
    struct store_settings store;
    struct keeper_settings history; /* decisions on record */
    struct log_settings log;
    struct admin_settings admin;
    struct runtime_settings runtime;
};

/* Reads and checks a file (NULL: the built-in defaults with the environment's overrides, for the tests'
 * verbs: then hostname, domains and backends may be missing). On faults NULL, and faults_out holds a line
 * each. */
const struct config *config_load(const char *file, struct buf *faults_out);
const struct config *config_ref(const struct config *config);
void config_unref(const struct config **config); /* leaves NULL */

/* admin.socket of settings that may have faults elsewhere, or cannot be read at all (then the default), for verbs that
 * talk to a daemon which loaded them when they had none. In mem. */
const char *config_control_socket(struct arena *mem, const char *file);

/* Every key with its effective value as YAML, and where it came from (default, FILE:LINE, environment). */
int config_show(const char *file, bool json, struct buf *out, struct buf *faults_out);

/* How its TLS is verified, for tls_verifying_context(). */
struct tls_client_settings config_backend_tls(const struct backend_settings *backend);

/* Reports leave through it: the first that speaks SMTP (LMTP only delivers) at an IP address, and wants no
 * PROXY header. NULL: there is none. */
const struct backend_settings *config_report_backend(const struct config *config);

/* The mode a check really has: the global `mode: observe` lowers enforce. */
enum mode config_mode(const struct config *config, enum mode check);

#endif
