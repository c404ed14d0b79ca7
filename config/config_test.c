#include "config/loading.h"

#include "tests/certificate.h"
#include "tests/t.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files of this run ---- */

static char folder[] = "/tmp/config_test.XXXXXX";
static char settings_file[64], domains_file[64], cert[64], key[64], other_key[64];

/* In front of each row's text: lines 1 to 3 of the file. The certificate is line 3. */
static const char *head;

static int make_files(void **state)
{
    static char text[512];

    (void)state;
    t_true(mkdtemp(folder) != NULL);
    snprintf(settings_file, sizeof(settings_file), "%s/s.yaml", folder);
    snprintf(domains_file, sizeof(domains_file), "%s/domains", folder);
    snprintf(cert, sizeof(cert), "%s/cert.pem", folder);
    snprintf(key, sizeof(key), "%s/key.pem", folder);
    snprintf(other_key, sizeof(other_key), "%s/other.pem", folder);
    t_true(
        certificate_make(domains_file, other_key, "other.example.net", 30, NULL)); /* only the key is kept */
    t_true(certificate_make(cert, key, "mx1.example.net", 30, NULL));
    snprintf(text, sizeof(text),
             "hostname: mx1.example.net\ndomains: {relay: [example.net]}\ntls: {cert: %s, key: %s}\n", cert,
             key);
    head = text;
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(settings_file);
    unlink(domains_file);
    unlink(cert);
    unlink(key);
    unlink(other_key);
    return rmdir(folder);
}

static void write_file(const char *path, const char *first, const char *second)
{
    FILE *file = fopen(path, "w");

    t_true(file != NULL);
    t_true(fputs(first, file) >= 0 && fputs(second, file) >= 0 && fclose(file) == 0);
}

/* ---- loading ---- */

/* Faults with "F" for the path of the settings file and "D" for the folder. */
static const char *shorten(struct arena *mem, const char *faults)
{
    struct str rest = str_of(faults);
    struct buf out;
    const char *text;

    buf_init(&out, 1024 * 1024);
    while (rest.n > 0) {
        if (str_starts(rest, str_of(settings_file))) {
            buf_add_char(&out, 'F');
            rest = str_from(rest, strlen(settings_file));
        } else if (str_starts(rest, str_of(folder))) {
            buf_add_char(&out, 'D');
            rest = str_from(rest, strlen(folder));
        } else {
            buf_add_char(&out, rest.p[0]);
            rest = str_from(rest, 1);
        }
    }
    text = str_dup(mem, buf_str(&out));
    buf_fini(&out);
    return text;
}

static const struct config *load(const char *first, const char *second, struct buf *faults)
{
    buf_init(faults, 1024 * 1024);
    write_file(settings_file, first, second);
    return config_load(settings_file, faults);
}

static const struct config *load_fine(const char *text)
{
    struct buf faults;
    const struct config *config = load(head, text, &faults);

    t_same_z(buf_z(&faults), "");
    t_true(config != NULL);
    buf_fini(&faults);
    return config;
}

static void expect_faults(const char *first, const char *second, const char *want)
{
    struct arena *mem = arena_new(0);
    struct buf faults;
    const struct config *config = load(first, second, &faults);

    t_same_z(shorten(mem, buf_z(&faults)), want);
    t_same_int(config == NULL, *want != '\0');
    config_unref(&config);
    buf_fini(&faults);
    arena_free(&mem);
}

/* ---- what is refused ---- */

static const struct {
    const char *name, *text, *faults;
} rows[] = {
    {"nothing else is needed", "", ""},
    {"an empty section keeps its defaults", "screen:\nlimits: {}\n", ""},
    {"version 1", "version: 1\n", ""},
    {"version 2", "version: 2\n", "F:4:10: version: \"2\" is not known; 1 is allowed\n"},

    {"an unknown key", "hostnam: x\n", "F:4:1: unknown key \"hostnam\"; did you mean \"hostname\"?\n"},
    {"an unknown key below", "limits: {idel: 5s}\n",
     "F:4:10: unknown key \"limits.idel\"; did you mean \"idle\"?\n"},
    {"an unknown key of an element", "backends: [{adress: 127.0.0.1:26}]\n",
     "F:4:13: unknown key \"backends[].adress\"; did you mean \"address\"?\n"},
    {"a key like nothing else", "banana: 1\n", "F:4:1: unknown key \"banana\"\n"},
    {"a path is not a key", "limits.idle: 5s\n\"listen[].name\": x\n",
     "F:4:1: unknown key \"limits.idle\"\nF:5:1: unknown key \"listen[].name\"\n"},
    {"an empty key", "\"\": 5\nlimits: {\"\": 5}\n",
     "F:4:1: unknown key \"\"\nF:5:10: unknown key \"limits.\"\n"},
    {"a merge key", "limits: {<<: {idle: 5s}}\n", "F:4:10: unknown key \"limits.<<\"\n"},
    {"faults of several kinds, all of them, in order",
     "mode: enforced\nlimits:\n  idle: 300\n  errors: many\n  errors: 5\nmodes: 1\n",
     "F:4:7: mode: \"enforced\" is not known; allowed: enforce, observe; did you mean \"enforce\"?\n"
     "F:6:9: limits.idle: \"300\" has no unit; write 300s, or ms, m, h or d\n"
     "F:7:11: limits.errors: \"many\" is not a whole number\n"
     "F:8:3: the key \"errors\" stands in line 7 already\n"
     "F:9:1: unknown key \"modes\"; did you mean \"mode\"?\n"},

    {"a value for a section", "limits: 5\n",
     "F:4:9: limits: keys and values are wanted below it, not a single value\n"},
    {"a list for a section", "limits: [5]\n",
     "F:4:9: limits: keys and values are wanted below it, not a list\n"},
    {"a list for a value", "limits: {idle: [5s]}\n",
     "F:4:16: limits.idle: a duration such as 300s is wanted, not a list\n"},
    {"a map for a value", "mode: {a: b}\n", "F:4:7: mode: a word is wanted, not keys and values\n"},
    {"a value for a list", "networks: 10.0.0.0/8\n",
     "F:4:11: networks: a list of networks is wanted, not a single value\n"},
    {"a value for a list of maps", "listen: \"[::]:25\"\n",
     "F:4:9: listen: a list of {key: value, …} is wanted, not a single value\n"},
    {"an element that is no map", "listen: [\"[::]:25\"]\n",
     "F:4:10: listen: a list of {key: value, …} is wanted, not one with a single value in it\n"},
    {"an element that is a list", "networks: [[10.0.0.0/8]]\n",
     "F:4:12: networks: a list of networks is wanted, not one with a list in it\n"},
    {"nothing for a value", "mode:\nlimits: {idle: }\nauthserv_id: ~\n",
     "F:4:6: mode: a word is wanted, not nothing\nF:5:16: limits.idle: a duration such as 300s is wanted, "
     "not nothing\n"
     "F:6:14: authserv_id: a word is wanted, not nothing\n"},
    {"a number in quotes", "limits: {errors: \"20\"}\n",
     "F:4:18: limits.errors: a number is wanted, not text; write it without quotes\n"},
    {"a boolean of YAML 1.1", "reports: {aggregate: {enabled: yes}}\n",
     "F:4:32: reports.aggregate.enabled: \"yes\" is not true or false; write true\n"},

    {"a rate outside", "limits: {new_connections_per_client: 0/1m}\n",
     "F:4:38: limits.new_connections_per_client: \"0/1m\" is outside 1/1s to 100000/1h\n"},
    {"parts of a second", "greylist: {delay: 1500ms}\n",
     "F:4:19: greylist.delay: \"1500ms\" is not in whole seconds\n"},
    {"workers", "runtime: {workers: lots}\n", "F:4:20: runtime.workers: \"lots\" is not a number or auto\n"},
    {"a user that is no name", "runtime: {user: \"a b\"}\n",
     "F:4:17: runtime.user: \"a b\" is not a word of letters, digits, hyphens, dots and underscores\n"},
    {"an authserv-id of two words", "authserv_id: a b\n",
     "F:4:14: authserv_id: \"a b\" is not an authserv-id: one word of letters, digits, dots and hyphens (RFC "
     "8601 2.2)\n"},

    {"a network with host bits", "networks: [10.0.0.0/8, 10.1.2.3/8]\n",
     "F:4:24: networks: \"10.1.2.3/8\" has bits set behind its prefix; did you mean 10.0.0.0/8?\n"},
    {"a network that is none", "networks:\n  - 10.0.0.0/33\n",
     "F:5:5: networks: \"10.0.0.0/33\": the prefix length is a number from 0 to 32\n"},
    {"everybody is trusted", "networks: [0.0.0.0/0, \"::/0\"]\n",
     "F:4:12: networks: \"0.0.0.0/0\" is everybody: an open relay\nF:4:23: networks: \"::/0\" is everybody: "
     "an open relay\n"},

    {"an address without a port", "listen: [{address: 192.0.2.1}]\n",
     "F:4:20: listen[0].address: \"192.0.2.1\" has no port; write 127.0.0.1:25 or [::1]:25\n"},
    {"no listener", "listen: []\n", "F:4:9: listen: is empty; one address at least is wanted\n"},
    {"a listener twice",
     "listen:\n  - {name: a, address: 192.0.2.1:25}\n  - {name: b, address: 192.0.2.1:25}\n",
     "F:6:24: listen[1].address: listen[0] has this address already\n"},
    {"[::] is IPv4 too", "listen:\n  - {name: a, address: \"[::]:25\"}\n  - {name: b, address: 0.0.0.0:25}\n",
     "F:6:24: listen[1].address: listen[0] has this address already\n"},
    {"a name twice", "listen:\n  - {address: 192.0.2.1:25}\n  - {address: 192.0.2.2:25}\n",
     "F:1:1: listen[1].name: \"mx\" is the name of listen[0] already\n"},
    {"a listener at the admin's address", "listen: [{address: 127.0.0.1:9925}]\n",
     "F:4:20: listen[0].address: admin.http is at the same address\n"},
    {"no backend", "backends: []\n", "F:4:11: backends: is empty; one address at least is wanted\n"},
    {"ourselves as backend", "backends: [{address: 127.0.0.1:25}]\n",
     "F:4:22: backends[0].address: this is where listen[0] listens; mail would go round in a circle\n"},
    {"a backend twice", "backends: [{address: 127.0.0.1:26}, {address: 127.0.0.1:26}]\n",
     "F:4:47: backends[1].address: backends[0] has this address already\n"},
    {"a socket",
     "backends: [{address: \"unix:/run/lmtp\", protocol: lmtp}, {address: \"unix:/run/other\"}]\n", ""},
    {"a name", "backends: [{address: \"mail.example.net:25\"}, {address: \"mail.example.net:26\"}]\n", ""},
    {"a name twice", "backends: [{address: \"mail.example.net:25\"}, {address: \"Mail.example.net:25\"}]\n",
     "F:4:56: backends[1].address: backends[0] has this address already\n"},
    {"a name without a port", "backends: [{address: \"mail.example.net:\"}]\n",
     "F:4:22: backends[0].address: \"mail.example.net:\": a port is 1 to 65535\n"},
    {"a socket twice", "backends: [{address: \"unix:/run/x\"}, {address: \"unix:/run/x\"}]\n",
     "F:4:48: backends[1].address: backends[0] has this address already\n"},
    {"a socket anywhere", "backends: [{address: \"unix:run/x\"}]\n",
     "F:4:22: backends[0].address: \"unix:run/x\": a path begins with / and has 107 octets at most\n"},
    {"a backend everywhere", "backends: [{address: 0.0.0.0:26}]\n",
     "F:4:22: backends[0].address: \"0.0.0.0:26\" is no address that one can connect to\n"},
    {"nine resolvers",
     "dns: {servers: [127.0.0.1, 127.0.0.2, 127.0.0.3, 127.0.0.4, 127.0.0.5, 127.0.0.6, 127.0.0.7, "
     "127.0.0.8, 127.0.0.9]}\n",
     "F:4:16: dns.servers: more than 8 servers\n"},

    {"a list without codes", "dnsbl: {lists: [{zone: bl.example.org, score: 8}]}\n",
     "F:4:17: dnsbl.lists[0].codes: is missing; a list of codes is wanted\n"},
    {"a list with no codes", "dnsbl: {lists: [{zone: bl.example.org, score: 8, codes: []}]}\n",
     "F:4:57: dnsbl.lists[0].codes: is empty; write the answers that are a listing, as "
     "[127.0.0.2-127.0.0.11]\n"},
    {"a list with nothing", "dnsbl: {lists: [{}]}\n",
     "F:4:17: dnsbl.lists[0].zone: is missing; a domain name is wanted\nF:4:17: dnsbl.lists[0].score: is "
     "missing; a number is wanted\n"
     "F:4:17: dnsbl.lists[0].codes: is missing; a list of codes is wanted\n"},
    {"a list twice",
     "dnsbl:\n  lists:\n    - {zone: bl.example.org, score: 8, codes: [127.0.0.2]}\n    - {zone: "
     "BL.example.org, score: 8, codes: [127.0.0.2]}\n",
     "F:7:14: dnsbl.lists[1].zone: dnsbl.lists[0] is this zone already\n"},
    {"a delay as long as the window", "greylist:\n  window: 240s\n",
     "F:5:11: greylist.window: the delay (240s) must be less than the window (240s)\n"},
    {"a delay longer than the window", "greylist:\n  delay: 2h\n  window: 1h\n",
     "F:5:10: greylist.delay: the delay (7200s) must be less than the window (3600s)\n"},
    {"an allow list of all kinds",
     "greylist: {allow: [192.0.2.0/24, \"2001:db8::/32\", example.org, 10.0.0.1/8, a_b]}\n",
     "F:4:64: greylist.allow: \"10.0.0.1/8\" has bits set behind its prefix; did you mean 10.0.0.0/8?\n"
     "F:4:76: greylist.allow: \"a_b\" is not a domain name: labels are 1 to 63 letters, digits and inner "
     "hyphens\n"},
    {"a spool that is a file", "limits: {spool_dir: /dev/null}\n",
     "F:4:21: limits.spool_dir: \"/dev/null\" is not a folder\n"},
    {"a spool that is to come", "limits: {spool_dir: /nowhere/spool}\n", ""},
    {"a store that is none", "store: {url: mysql://x}\n",
     "F:4:14: store.url: \"mysql://x\" is not a store; write sqlite:PATH or redis://HOST:PORT\n"},
    {"a redis at no port", "store: {url: \"redis://a:0\"}\n", "F:4:14: store.url: \"0\" is no port\n"},
    {"no HTTP", "admin: {http: \"\"}\n", ""},

    {"DMARC with nothing that could pass", "spf: {mode: off}\ndkim: {mode: off}\n",
     "F:5:14: dmarc.mode: with spf.mode and dkim.mode off no message could ever pass; switch dmarc.mode off, "
     "too\n"},
    {"DMARC, observed, with nothing that could pass",
     "dmarc: {mode: observe}\nspf: {mode: off}\ndkim: {mode: off}\n",
     "F:4:15: dmarc.mode: with spf.mode and dkim.mode off no message could ever pass; switch dmarc.mode off, "
     "too\n"},
    {"none of the three", "dmarc: {mode: off}\nspf: {mode: off}\ndkim: {mode: off}\n", ""},
    {"DMARC by DKIM alone", "spf: {mode: off}\n", ""},
    {"DMARC by SPF alone", "dkim: {mode: off}\n", ""},

    {"signing without keys", "dkim: {sign: {mode: enforce}}\n",
     "F:4:21: dkim.sign.mode: there are no keys to sign with; write dkim.sign.keys, or the two tables\n"},
    {"one table of two", "dkim: {sign: {key_table: /etc/opendkim/KeyTable}}\n",
     "F:4:26: dkim.sign: signing_table and key_table go together\n"},
    {"a key that is nowhere",
     "dkim: {sign: {mode: enforce, keys: [{domain: a.example, selector: s, key: /nowhere/key.pem}]}}\n",
     "F:4:21: dkim.sign: /nowhere/key.pem cannot be opened: No such file or directory\n"},
    {"ARC is built", "arc: {mode: enforce, trusted_sealers: [lists.example]}\n", ""},

    /* What is not built is never silently ignored. */
    {"verify is built", "backends: [{tls: verify, tls_name: mail.example.net}]\n", ""},
    {"pins and nothing to pin", "backends: [{tls: require, tls_pin: [\"00\"]}]\n",
     "F:4:18: backends[0].tls: tls_name, tls_ca and tls_pin are for tls: verify\n"
     "F:4:37: backends[0].tls_pin: \"00\" is no SHA-256: 64 hex digits are wanted\n"},
    {"a pin and a name",
     "backends: [{tls: verify, tls_name: a.example, tls_pin: "
     "[00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF]}]\n",
     "F:4:18: backends[0].tls: tls_pin takes the place of tls_name and tls_ca\n"},
    {"authorities that are not there", "backends: [{tls: verify, tls_ca: /nowhere/ca.pem}]\n",
     "F:4:34: backends[0].tls_ca: no CA certificates can be read from /nowhere/ca.pem: No such file or "
     "directory\n"},
    {"a socket's name", "backends: [{address: \"unix:/run/x\", tls: verify}]\n",
     "F:4:42: backends[0].tls: a socket has no name to verify; write tls_name or tls_pin\n"},
    {"LMTP is built", "backends: [{protocol: lmtp}]\n", ""},
    {"reports by LMTP",
     "backends: [{protocol: lmtp}]\nreports: {from: d@example.net, failure: {enabled: true}}\n",
     "F:5:17: reports.from: reports leave through a backend of SMTP with an IP address, and there is "
     "none\n"},
    {"a backend's domains", "backends: [{domains: [example.net, .example.net]}, {address: 127.0.0.1:26}]\n",
     ""},
    {"a domain without a backend", "backends: [{domains: [a.example]}]\n",
     "F:4:22: backends[0].domains: no backend takes mail for \"example.net\" of domains.relay; one without "
     "domains takes "
     "all others\n"},
    {"a backend's domain that is none", "backends: [{domains: [\"-x\"]}, {address: 127.0.0.1:26}]\n",
     "F:4:23: backends[0].domains: \"-x\" is not a domain name: labels are 1 to 63 letters, digits and inner "
     "hyphens\n"},
    {"proxy-v2 is built", "backends: [{pass_client: proxy-v2}]\n", ""},
    {"xforward is built", "backends: [{pass_client: xforward}]\n", ""},
    {"none is built", "backends: [{pass_client: none}]\n", ""},
    {"reports and a PROXY header",
     "backends: [{pass_client: proxy-v2}]\nreports: {from: d@example.net, failure: {enabled: true}}\n",
     "F:5:17: reports.from: reports leave through a backend of SMTP with an IP address, and there is "
     "none\n"},
    {"failure reports from nobody", "reports: {failure: {enabled: true}}\n",
     "F:4:30: reports.from: \"\" is no address; reports need one to come from\n"},
    {"failure reports are built", "reports: {from: dmarc@example.net, failure: {enabled: true}}\n", ""},
    {"reports from nobody", "reports: {aggregate: {enabled: true}}\n",
     "F:4:32: reports.from: \"\" is no address; reports need one to come from\n"},
    {"reports from a name", "reports: {from: postmaster, aggregate: {enabled: true}}\n",
     "F:4:17: reports.from: \"postmaster\" is no address; reports need one to come from\n"},
    {"reports are built", "reports: {from: dmarc@example.net, aggregate: {enabled: true}}\n", ""},
    {"the history of decisions is built", "store: {history: 30d, history_size: 2G}\n", ""},
    {"a history of nothing", "store: {history_size: 10K}\n",
     "F:4:23: store.history_size: \"10K\" is too little; 1M to 1024G is allowed\n"},
    {"the control socket", "admin: {socket: /run/x.sock}\n", ""},
    {"no control socket", "admin: {socket: \"\"}\n", ""},
    {"a path that no socket can have",
     "admin: {socket: /0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456"
     "789012345678}\n",
     "F:4:17: admin.socket: longer than 107 letters\n"},
    {"a file of allowed clients that is not there", "greylist: {allow: [\"file:/nowhere/x\"]}\n",
     "F:4:20: greylist.allow: /nowhere/x cannot be opened: No such file or directory\n"},
    {"a pattern that cannot be read", "greylist: {allow: [\"/a(/\"], allow_recipients: [\"@\"]}\n",
     "F:4:20: greylist.allow: a ( without its )\n"
     "F:4:48: greylist.allow_recipients: \"@\" has nothing before its @; a domain stands alone\n"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        t_case(rows[i].name, NULL);
        expect_faults(head, rows[i].text, rows[i].faults);
    }
}

static void test_mandatory(void **state)
{
    (void)state;
    t_case("an empty file lacks what nobody else can know", NULL);
    expect_faults(
        "", "",
        "F:1:1: hostname: is missing; a host name is wanted\n"
        "F:1:1: domains.relay: is empty, and so is domains.file; write the domains to accept mail for\n"
        "F:1:1: tls.cert: /etc/smtpguard/tls/fullchain.pem (the default) cannot be read: No such file or "
        "directory\n"
        "F:1:1: tls.key: /etc/smtpguard/tls/privkey.pem (the default) cannot be read: No such file or "
        "directory\n");
    t_case("host name, domains and backends are enough, but for the certificate", NULL);
    expect_faults("hostname: mx1.example.net\ndomains: {relay: [example.net]}\nbackends: [{address: "
                  "127.0.0.1:10025}]\n",
                  "",
                  "F:1:1: tls.cert: /etc/smtpguard/tls/fullchain.pem (the default) cannot be read: No such "
                  "file or directory\n"
                  "F:1:1: tls.key: /etc/smtpguard/tls/privkey.pem (the default) cannot be read: No such file "
                  "or directory\n");
    t_case("without TLS no certificate is asked for", NULL);
    expect_faults("hostname: mx1.example.net\ndomains: {relay: [example.net]}\nlisten: [{tls: none}]\n", "",
                  "");
    t_case("a host name has its domain", "5321 2.3.5");
    expect_faults(
        "hostname: mx1\ndomains: {relay: [example.net]}\nlisten: [{tls: none}]\n", "",
        "F:1:11: hostname: \"mx1\" is not a full name; write it with its domain, as mx1.example.net\n");
    t_case("a file that is not there", NULL);
    struct buf faults;
    buf_init(&faults, 4096);
    t_true(config_load("/nowhere/s.yaml", &faults) == NULL);
    t_same_z(buf_z(&faults), "/nowhere/s.yaml:1:1: cannot be opened: No such file or directory\n");
    buf_clear(&faults);
    t_true(config_load("/", &faults) == NULL);
    t_same_z(buf_z(&faults), "/:1:1: cannot be read: Is a directory\n");
    buf_fini(&faults);
}

static void test_certificates(void **state)
{
    static const char start[] = "hostname: mx1.example.net\ndomains: {relay: [example.net]}\n";
    struct arena *mem = arena_new(0);
    const struct config *config;
    struct buf faults;

    (void)state;
    t_case("a key of another certificate", NULL);
    config = load(start, str_fmt(mem, "tls: {cert: %s, key: %s}\n", cert, other_key), &faults);
    t_true(config == NULL);
    t_true(strncmp(shorten(mem, buf_z(&faults)), "F:3:13: tls.cert: ", 18) == 0);
    buf_fini(&faults);
    t_case("a further pair has its own place", NULL);
    expect_faults(head, str_fmt(mem, "screen: {helo: off}\n"), "");
    expect_faults(start,
                  str_fmt(mem,
                          "tls:\n  cert: %s\n  key: %s\n  more:\n    - {cert: /nowhere/a, key: /nowhere/b}\n",
                          cert, key),
                  "F:7:14: tls.more[0].cert: /nowhere/a cannot be read: No such file or directory\n"
                  "F:7:31: tls.more[0].key: /nowhere/b cannot be read: No such file or directory\n");
    t_case("ciphers that OpenSSL does not know", NULL);
    config = load(start, str_fmt(mem, "tls: {cert: %s, key: %s,\n  ciphers: BANANA}\n", cert, key), &faults);
    t_true(config == NULL);
    t_true(strncmp(shorten(mem, buf_z(&faults)), "F:4:12: tls.ciphers: ", 21) == 0);
    buf_fini(&faults);
    t_case("a certificate that nobody asks for is not kept", NULL);
    config = load("hostname: mx1.example.net\ndomains: {relay: [example.net]}\nlisten: [{tls: none}]\n", "",
                  &faults);
    t_same_z(config->tls.pair.cert, "");
    config_unref(&config);
    buf_fini(&faults);
    arena_free(&mem);
}

/* ---- every key at its limits ---- */

static const char *one_beyond(struct arena *mem, const char *limit, int step)
{
    struct str text = str_of(limit);
    size_t digits = text.p[0] == '-';
    uint64_t number;

    while (digits < text.n && ascii_is_digit(text.p[digits]))
        digits++;
    t_true(
        str_to_u64(str_make(text.p + (text.p[0] == '-'), digits - (text.p[0] == '-')), INT64_MAX, &number));
    return str_fmt(mem, "%lld%s", (text.p[0] == '-' ? -(long long)number : (long long)number) + step,
                   text.p + digits);
}

static const char *setting_line(struct arena *mem, const char *name, const char *value)
{
    struct str rest = str_of(name), segment;
    const char *open = "", *close = "";
    bool more = true;

    while (more) {
        more = str_cut(rest, '.', &segment, &rest);
        bool list = str_starts(segment, STR("lists[")) || str_starts(segment, STR("backends["));
        size_t n = list ? segment.n - 2 : segment.n;

        open = str_fmt(mem, "%s%.*s: %s%s", open, (int)n, segment.p, list ? "[" : "", more ? "{" : value);
        close = str_fmt(mem, "%s%s%s", more ? "}" : "", list ? "]" : "", close);
        if (list && str_starts(segment, STR("lists")))
            open = str_fmt(mem, "%szone: a.example, codes: [127.0.0.2], ", open);
    }
    return str_fmt(mem, "%s%s\n", open, close);
}

static bool is_accepted(struct arena *mem, const struct setting *row, const char *value)
{
    struct buf faults;
    const char *more = strcmp(row->key, "greylist.delay") == 0    ? "window: 30d, "
                       : strcmp(row->key, "greylist.window") == 0 ? "delay: 1s, "
                                                                  : "";
    const char *line = setting_line(mem, row->key, value);
    const struct config *config;
    bool accepted;

    if (*more != '\0')
        line = str_fmt(mem, "greylist: {%s%s", more, line + strlen("greylist: {"));
    if (str_starts(str_of(line), STR("domains: {"))) /* which the head has, too */
        config = load("hostname: mx1.example.net\nlisten: [{tls: none}]\ndomains: {relay: [a.example], ",
                      line + strlen("domains: {"), &faults);
    else
        config = load(head, line, &faults);
    accepted = config != NULL;
    if (!accepted)
        t_true(strstr(buf_z(&faults), row->key[0] == 'b' || strchr(row->key, '[') ? strrchr(row->key, '.') + 1
                                                                                  : row->key) != NULL);
    config_unref(&config);
    buf_fini(&faults);
    return accepted;
}

static void test_every_limit(void **state)
{
    unsigned checked = 0;

    (void)state;
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *row = &settings[i];
        struct arena *mem = arena_new(0);

        t_case(row->key, NULL);
        if (row->least != NULL && row->type != SET_RATE && row->later == NULL) {
            t_true(is_accepted(mem, row, row->least));
            t_true(is_accepted(mem, row, row->most));
            t_true(!is_accepted(mem, row, one_beyond(mem, row->least, -1)));
            t_true(!is_accepted(mem, row, one_beyond(mem, row->most, 1)));
            t_true(!is_accepted(mem, row, "99999999999999999999"));
            checked++;
        }
        arena_free(&mem);
    }
    t_true(checked >= 36);
}

/* ---- what is stored ---- */

static void test_values(void **state)
{
    const struct config *config;

    (void)state;
    t_case("values reach their fields in the units of their names", NULL);
    config = load_fine(
        "mode: observe\n"
        "listen: [{name: a, address: 192.0.2.1:2525, tls: implicit}, {name: b, address: "
        "\"[2001:db8::1]:25\", tls: none}]\n"
        "backends: [{address: \"[::1]:26\", tls: require, pass_client: none, connect_timeout: 1500ms, "
        "reply_timeout: 2m, pool: 3}]\n"
        "networks: [10.0.0.0/8]\n"
        "limits: {new_connections_per_client: 30/10s, message_size: 25M, line: 2K, idle: 1m, errors: 7}\n"
        "dns: {servers: [127.0.0.53, \"[::1]:5353\"], timeout: 2s, tries: 3, forgers: expected}\n"
        "dnsbl: {lists: [{zone: bl.example.org, score: -3, codes: [127.0.0.2-127.0.0.11, 127.0.1.1], "
        "kind: domains, test_name: DBLtest.com, untested: true}, {zone: b.example.org, score: 1, codes: "
        "[127.0.0.2]}]}\n"
        "greylist: {when: always, delay: 5m, allow: [192.0.2.0/24, Example.ORG], ipv4_prefix: 20}\n"
        "spf: {mode: observe, on_fail: reject, on_permerror: defer}\n"
        "dkim: {min_rsa_bits: 2048, sha1: neutral}\n"
        "dmarc: {reject: always, quarantine: reject, from_invalid: mark}\n"
        "store: {url: \"sqlite:/tmp/x.db\", timeout: 1s}\n"
        "log: {target: syslog, format: json, level: debug, privacy: hash}\n"
        "admin: {http: \"\"}\nruntime: {workers: 3, user: mail, drain: 5s}\nscreen: {banner_delay: 0s, "
        "fcrdns: enforce}\n");
    t_same_int(config->mode, MODE_OBSERVE);
    t_same_z(config->hostname, "mx1.example.net");
    t_same_z(config->authserv_id, "mx1.example.net");
    t_same_int(config->listens_count, 2);
    t_same_int(config->listens[0].address.port, 2525);
    t_same_int(config->listens[0].tls, LISTEN_TLS_IMPLICIT);
    t_same_z(config->listens[1].name, "b");
    t_same_int(config->listens[1].address.ip.family, 6);
    t_same_z(config->backends[0].address, "[::1]:26");
    t_same_int(config->backends[0].endpoint.port, 26);
    t_same_int(config->backends[0].tls, BACKEND_TLS_REQUIRE);
    t_same_int(config->backends[0].pass_client, PASS_NONE);
    t_same_int(config->backends[0].connect_timeout_ms, 1500);
    t_same_int(config->backends[0].reply_timeout_ms, 120000);
    t_same_int(config->backends[0].pool, 3);
    t_same_int(config->networks.count, 1);
    t_same_int(config->networks.nets[0].bits, 8);
    t_same_int(config->limits.new_connections, 30);
    t_same_int(config->limits.new_connections_ms, 10000);
    t_same_int(config->limits.message_bytes, 25 * 1024 * 1024);
    t_same_int(config->limits.line_bytes, 2048);
    t_same_int(config->limits.idle_ms, 60000);
    t_same_int(config->limits.errors, 7);
    t_same_int(config->limits.recipients, 100);
    t_same_int(config->dns.servers_count, 2);
    t_same_int(config->dns.servers[0].port, 53);
    t_same_int(config->dns.servers[1].port, 5353);
    t_same_int(config->dns.timeout_ms, 2000);
    t_same_int(config->dns.tries, 3);
    t_same_int(config->dns.forgers, DNS_FORGERS_EXPECTED);
    t_same_int(config->dnsbl.lists_count, 2);
    t_same_int(config->dnsbl.lists[0].score, -3);
    t_same_int(config->dnsbl.lists[0].codes_count, 2);
    t_same_int(config->dnsbl.lists[0].codes[0].last.b[3], 11);
    t_same_int(config->dnsbl.lists[0].kind, DNSBL_OF_DOMAINS);
    t_same_z(config->dnsbl.lists[0].test_name, "dbltest.com");
    t_true(config->dnsbl.lists[0].untested);
    t_same_z(config->dnsbl.lists[1].test_name, "test");
    t_same_int(config->greylist.when, GREY_ALWAYS);
    t_same_int(config->greylist.delay_s, 300);
    t_same_int(config->greylist.window_s, 172800);
    t_same_int(config->greylist.ipv4_prefix, 20);
    t_same_int(config->greylist.allow[0].net.bits, 24);
    t_same_z(config->greylist.allow[1].domain, "example.org");
    t_same_int(config->spf.mode, MODE_OBSERVE);
    t_same_int(config->spf.on_fail, ON_REJECT);
    t_same_int(config->spf.on_permerror, ON_DEFER);
    t_same_int(config->dkim.min_rsa_bits, 2048);
    t_same_int(config->dkim.sha1, DKIM_SHA1_NEUTRAL);
    t_same_int(config->dmarc.reject, DMARC_REJECT_ALWAYS);
    t_same_int(config->dmarc.quarantine, DMARC_QUARANTINE_REJECT);
    t_same_int(config->dmarc.from_invalid, ON_MARK);
    t_same_z(config->store.url, "sqlite:/tmp/x.db");
    t_same_int(config->store.timeout_ms, 1000);
    t_same_int(config->log.format, LOG_JSON);
    t_same_int(config->log.privacy, LOG_PRIVACY_HASH);
    t_same_int(config->admin.http.ip.family, 0);
    t_same_int(config->runtime.workers, 3);
    t_same_int(config->runtime.drain_ms, 5000);
    t_same_int(config->screen.banner_delay_ms, 0);
    t_case("the global mode lowers enforce, and nothing else", NULL);
    t_same_int(config_mode(config, MODE_ENFORCE), MODE_OBSERVE);
    t_same_int(config_mode(config, MODE_OBSERVE), MODE_OBSERVE);
    t_same_int(config_mode(config, MODE_OFF), MODE_OFF);
    config_unref(&config);
}

static void test_defaults(void **state)
{
    const struct config *config, *again;
    struct buf faults;

    (void)state;
    t_case("without a file there are the defaults", NULL);
    buf_init(&faults, 4096);
    config = config_load(NULL, &faults);
    t_same_z(buf_z(&faults), "");
    t_same_z(config->hostname, "localhost");
    t_same_z(config->authserv_id, "localhost");
    t_same_int(config->listens_count, 1);
    t_same_int(config->listens[0].tls, LISTEN_TLS_STARTTLS);
    t_same_int(config->backends_count, 1);
    t_same_int(config->domains.relay_count, 0);
    t_same_int(config->networks.count, 2);
    t_same_int(config->limits.message_bytes, 50 * 1024 * 1024);
    t_same_int(config->greylist.keep_s, 36 * 86400);
    t_same_int(config->dns.forgers, DNS_FORGERS_AUTO);
    t_same_int(config->dkim.sha1, DKIM_SHA1_POLICY);
    t_same_int(config->runtime.workers, 0);
    t_same_int(config_mode(config, MODE_ENFORCE), MODE_ENFORCE);
    t_case("a snapshot lives as long as somebody holds it", NULL);
    again = config_ref(config);
    config_unref(&config);
    t_true(config == NULL);
    t_same_z(again->hostname, "localhost");
    config_unref(&again);
    config_unref(&again); /* NULL is fine */
    buf_fini(&faults);
}

/* ---- domains ---- */

/* What the program does not do, the settings must not promise. */
static void test_recipients(void **state)
{
    static const char start[] =
        "hostname: mx1.example.net\nlisten: [{tls: none}]\ndomains: {relay: [a.example]";

    (void)state;
    t_case("recipients: the backend's word, live", NULL);
    expect_faults(start, ", recipients: backend}\n", "");
    expect_faults(start, ", recipients: any}\n", "");
    t_case("a file that is not there", NULL);
    expect_faults(
        start, ", recipients: \"file:/nowhere/at/all\"}\n",
        "F:3:43: domains.recipients: /nowhere/at/all cannot be opened: No such file or directory\n");
}

static void test_recipients_file(void **state)
{
    static const struct {
        const char *local, *domain;
        bool has;
    } asked[] = {
        {"bob", "a.example", true},
        {"BOB", "A.Example", true},
        {"bob+lists", "a.example", true},
        {"bobby", "a.example", false},
        {"bob", "b.example", false},
        {"+lists", "a.example", false},
        {"anybody", "c.example", true},
        {"x", "sub.c.example", false},
        {"carol", "xn--bcher-kva.example", true},
        {"\"bob b\"", "a.example", true},
        {"", "a.example", false},
    };
    struct arena *mem = arena_new(0);
    const struct config *config;
    struct buf faults;

    (void)state;
    write_file(domains_file,
               "# users\nBob@a.example # him\r\n\n@C.example\ncarol@Bücher.example\nbob@a.example\n", "");
    config =
        load("hostname: mx1.example.net\nlisten: [{tls: none}]\n",
             str_fmt(mem, "domains: {relay: [a.example], recipients: \"file:%s\"}\n", domains_file), &faults);
    t_same_z(buf_z(&faults), "");
    buf_fini(&faults);
    t_same_z(config->domains.recipients_file, domains_file);
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        t_case(str_fmt(mem, "%s@%s", asked[i].local, asked[i].domain), "5321 2.4");
        t_same_int(domain_settings_lists(&config->domains, str_of(asked[i].local), str_of(asked[i].domain)),
                   asked[i].has);
    }
    config_unref(&config);
    t_case("faults of the file have its lines", NULL);
    write_file(domains_file, "bob\nbob@a..example\nb ob@a.example\n", "");
    expect_faults(
        "hostname: mx1.example.net\nlisten: [{tls: none}]\n",
        str_fmt(mem, "domains: {relay: [a.example], recipients: \"file:%s\"}\n", domains_file),
        "D/domains:1:1: domains.recipients: \"bob\" is neither user@domain nor @domain\n"
        "D/domains:2:1: domains.recipients: \"a..example\" is not a domain name: labels are 1 to 63 "
        "letters, digits and inner hyphens\n"
        "D/domains:3:1: domains.recipients: \"b ob@a.example\" is neither user@domain nor @domain\n");
    t_case("a file of nobody would refuse everybody", NULL);
    write_file(domains_file, "# to come\n", "\n");
    expect_faults("hostname: mx1.example.net\nlisten: [{tls: none}]\n",
                  str_fmt(mem, "domains: {relay: [a.example], recipients: \"file:%s\"}\n", domains_file),
                  "F:3:43: domains.recipients: D/domains names nobody: all mail would be refused\n");
    t_case("and so would one of no domains, unless there are others", NULL);
    expect_faults("hostname: mx1.example.net\nlisten: [{tls: none}]\n",
                  str_fmt(mem, "domains: {relay: [], file: %s}\n", domains_file),
                  "F:3:28: domains.file: D/domains names no domain, and domains.relay is empty: all mail "
                  "would be refused\n");
    expect_faults("hostname: mx1.example.net\nlisten: [{tls: none}]\n",
                  str_fmt(mem, "domains: {relay: [a.example], file: %s}\n", domains_file), "");
    arena_free(&mem);
}

static void test_domains(void **state)
{
    static const struct {
        const char *domain;
        bool has;
    } asked[] = {
        {"example.net", true},
        {"EXAMPLE.Net", true},
        {"sub.example.net", false},
        {"below.test", false},
        {"a.below.test", true},
        {"a.b.below.test", true},
        {"xbelow.test", false},
        {"both.test", true},
        {"a.both.test", true},
        {"xn--bcher-kva.example", true},
        {"file.example", true},
        {"x.filed.example", true},
        {"filed.example", false},
        {"net", false},
        {"", false},
        {".", false},
        {"example.net.", false},
        {"example.ne", false},
        {"example.nett", false},
    };
    struct arena *mem = arena_new(0);
    const struct config *config;
    struct buf faults;

    (void)state;
    write_file(domains_file, "# ours\nfile.example   # a comment\n\n\t.Filed.example\r\n", "example.net");
    config = load(
        "hostname: mx1.example.net\nlisten: [{tls: none}]\n",
        str_fmt(
            mem,
            "domains: {relay: [example.net, .below.test, both.test, .both.test, Bücher.example], file: %s}\n",
            domains_file),
        &faults);
    t_same_z(buf_z(&faults), "");
    buf_fini(&faults);
    t_same_int(config->domains.relay_count, 7);
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        t_case(asked[i].domain, NULL);
        t_same_int(domain_settings_has(&config->domains, str_of(asked[i].domain)), asked[i].has);
    }
    t_case("names with a NUL or beyond 253 octets are nobody's", NULL);
    t_true(!domain_settings_has(&config->domains, STR("example.net\0")));
    t_true(!domain_settings_has(&config->domains, str_make(str_fmt(mem, "%0300d.below.test", 0), 311)));
    config_unref(&config);

    t_case("faults of the file have its lines", NULL);
    write_file(domains_file, "a.example\n.\n", "b_c.example");
    expect_faults("hostname: mx1.example.net\nlisten: [{tls: none}]\n",
                  str_fmt(mem, "domains: {relay: [a..b, \"\"], file: %s}\n", domains_file),
                  "F:3:19: domains.relay: \"a..b\" is not a domain name: labels are 1 to 63 letters, digits "
                  "and inner hyphens\n"
                  "F:3:25: domains.relay: \"\" is not a domain name of 1 to 253 letters\n"
                  "D/domains:2:1: domains.file: \"\" is not a domain name of 1 to 253 letters\n"
                  "D/domains:3:1: domains.file: \"b_c.example\" is not a domain name: labels are 1 to 63 "
                  "letters, digits and inner hyphens\n");
    t_case("a file that is not there", NULL);
    expect_faults("hostname: mx1.example.net\nlisten: [{tls: none}]\n", "domains: {file: /nowhere/domains}\n",
                  "F:3:17: domains.file: /nowhere/domains cannot be opened: No such file or directory\n");
    arena_free(&mem);
}

/* ---- greylist.allow ---- */

static void test_allow_files(void **state)
{
    struct arena *mem = arena_new(0);
    const struct config *config;
    struct buf faults;

    (void)state;
    t_case("files of postgrey's are read among the entries, and are known to whoever watches", NULL);
    write_file(domains_file, "# postgrey\nmail.example   # a comment\n\n192.168\r\n/^mta\\d/", "");
    config = load(head,
                  str_fmt(mem,
                          "greylist: {allow: [192.0.2.7, \"file:%s\", b.example], "
                          "allow_recipients: [abuse@, \"file:%s\"]}\n",
                          domains_file, domains_file),
                  &faults);
    t_same_z(buf_z(&faults), "");
    buf_fini(&faults);
    t_same_int(config->greylist.allow_count, 5);
    t_same_z(config->greylist.allow[1].domain, "mail.example");
    t_same_int(config->greylist.allow[2].net.bits, 16);
    t_true(config->greylist.allow[3].pattern != NULL);
    t_same_z(config->greylist.allow[4].domain, "b.example");
    t_same_int(config->greylist.allow_recipients_count, 4);
    t_same_z(config->greylist.allow_recipients[0].local, "abuse");
    t_same_int(config->greylist.files_count, 2);
    t_same_z(config->greylist.files[0], domains_file);
    config_unref(&config);
    t_case("faults of a file have its lines", NULL);
    write_file(domains_file, "a.example\ntwo words\n", "/a(/");
    expect_faults(head, str_fmt(mem, "greylist: {allow: [\"file:%s\"]}\n", domains_file),
                  "D/domains:2:1: greylist.allow: \"two words\" is no host name: it has a blank\n"
                  "D/domains:3:1: greylist.allow: a ( without its )\n");
    arena_free(&mem);
}

/* ---- environment ---- */

struct variable {
    const char *name, *value;
};

static void expect_environment(const char *name, const struct variable *variables, const char *text,
                               const char *want)
{
    t_case(name, NULL);
    for (size_t i = 0; variables[i].name != NULL; i++)
        t_true(setenv(variables[i].name, variables[i].value, 1) == 0);
    expect_faults(head, text, want);
    for (size_t i = 0; variables[i].name != NULL; i++)
        unsetenv(variables[i].name);
}

static void test_environment(void **state)
{
    const struct config *config;

    (void)state;
    setenv("SMTPGUARD_BACKENDS__0__ADDRESS", "192.0.2.5:26", 1);
    setenv("SMTPGUARD_BACKENDS__1__ADDRESS", "192.0.2.6:26", 1);
    setenv("SMTPGUARD_LIMITS__ERRORS", "9", 1);
    setenv("SMTPGUARD_DOMAINS__RELAY", "a.example, .b.example", 1);
    setenv("SMTPGUARD_NETWORKS__1", "192.0.2.0/24", 1);
    setenv("SMTPGUARD_TLS__CIPHERS", "", 1);
    setenv("SMTPGUARD_VERSION", "0.1.0", 1);
    setenv("SMTPGUARD_SERVICE_HOST", "10.0.0.1", 1);
    setenv("SMTPGUARD_PORT_25_TCP", "tcp://10.0.0.1:25", 1);
    t_case("the environment overrides, adds, and leaves the rest", NULL);
    config = load_fine("backends: [{address: 127.0.0.1:26, pool: 3}]\nnetworks: [10.0.0.0/8]\nlimits:\n");
    t_same_int(config->backends_count, 2);
    t_same_z(config->backends[0].address, "192.0.2.5:26");
    t_same_int(config->backends[0].pool, 3);
    t_same_z(config->backends[1].address, "192.0.2.6:26");
    t_same_int(config->limits.errors, 9);
    t_same_int(config->domains.relay_count, 2);
    t_true(domain_settings_has(&config->domains, STR("x.b.example")));
    t_true(!domain_settings_has(&config->domains, STR("example.net")));
    t_same_int(config->networks.count, 2);
    config_unref(&config);
    unsetenv("SMTPGUARD_BACKENDS__0__ADDRESS");
    unsetenv("SMTPGUARD_BACKENDS__1__ADDRESS");
    unsetenv("SMTPGUARD_LIMITS__ERRORS");
    unsetenv("SMTPGUARD_DOMAINS__RELAY");
    unsetenv("SMTPGUARD_NETWORKS__1");
    unsetenv("SMTPGUARD_TLS__CIPHERS");

    expect_environment(
        "faults name the variable",
        (const struct variable[]){{"SMTPGUARD_LIMITS__IDLE", "5"}, {"SMTPGUARD_MODE", "on"}, {0}},
        "mode: observe\n",
        "SMTPGUARD_LIMITS__IDLE: limits.idle: \"5\" has no unit; write 5s, or ms, m, h or d\n"
        "SMTPGUARD_MODE: mode: \"on\" is not known; allowed: enforce, observe\n");
    expect_environment(
        "unknown keys of a section are faults",
        (const struct variable[]){{"SMTPGUARD_LIMITS__IDEL", "5s"}, {0}}, "",
        "SMTPGUARD_LIMITS__IDEL: unknown key \"limits.idel\"; did you mean \"limits.idle\"?\n");
    expect_environment("so is what nearly is a key",
                       (const struct variable[]){{"SMTPGUARD_HOSTNAM", "x"}, {0}}, "",
                       "SMTPGUARD_HOSTNAM: unknown key \"hostnam\"; did you mean \"hostname\"?\n");
    expect_environment(
        "elements come one after the other",
        (const struct variable[]){{"SMTPGUARD_BACKENDS__2__POOL", "1"}, {0}}, "backends: [{}]\n",
        "SMTPGUARD_BACKENDS__2__POOL: backends[].pool: there is no element 2; the next one is 1\n");
    expect_environment(
        "a list of maps is set key by key", (const struct variable[]){{"SMTPGUARD_BACKENDS", "x"}, {0}}, "",
        "SMTPGUARD_BACKENDS: backends: set each key of an element, as SMTPGUARD_BACKENDS__0__…\n");
    expect_environment("a section is no key", (const struct variable[]){{"SMTPGUARD_LIMITS", "x"}, {0}}, "",
                       "SMTPGUARD_LIMITS: unknown key \"limits\"\n");
    expect_environment("one line", (const struct variable[]){{"SMTPGUARD_AUTHSERV_ID", "a\nb"}, {0}}, "",
                       "SMTPGUARD_AUTHSERV_ID: a value is one line without control characters\n");
    expect_environment("no empty segments, no more than eight",
                       (const struct variable[]){{"SMTPGUARD_LIMITS____IDLE", "5s"},
                                                 {"SMTPGUARD_A__B__C__D__E__F__G__H__I", "1"},
                                                 {0}},
                       "",
                       "SMTPGUARD_A__B__C__D__E__F__G__H__I: unknown key "
                       "\"a.b.c.d.e.f.g.h\"\nSMTPGUARD_LIMITS____IDLE: unknown key \"limits\"\n");
    expect_environment("another form in the file is told there",
                       (const struct variable[]){{"SMTPGUARD_LIMITS__IDLE", "5s"}, {0}}, "limits: [1]\n",
                       "F:4:9: limits: keys and values are wanted below it, not a list\n");
    unsetenv("SMTPGUARD_VERSION");
    unsetenv("SMTPGUARD_SERVICE_HOST");
    unsetenv("SMTPGUARD_PORT_25_TCP");
}

/* ---- config show ---- */

static void test_show(void **state)
{
    struct arena *mem = arena_new(0);
    struct buf out, again, faults;
    const struct config *config;

    (void)state;
    buf_init(&out, 1024 * 1024);
    buf_init(&again, 1024 * 1024);
    buf_init(&faults, 1024 * 1024);
    setenv("SMTPGUARD_LIMITS__ERRORS", "9", 1);
    write_file(settings_file, head,
               "authserv_id: \"null\"\nnetworks: [\"::1\", 10.0.0.0/8]\ndnsbl: {lists: [{zone: a.example, "
               "score: -5, codes: [127.0.0.2]}]}\n");
    t_case("each key with its origin", NULL);
    t_same_int(config_show(settings_file, false, &out, &faults), 0);
    t_same_z(buf_z(&faults), "");
    t_true(strstr(shorten(mem, buf_z(&out)), "hostname: mx1.example.net  # F:1\n") != NULL);
    t_true(strstr(shorten(mem, buf_z(&out)), "authserv_id: \"null\"  # F:4\n") != NULL);
    t_true(strstr(buf_z(&out), "\n  errors: 9  # environment\n") != NULL);
    t_true(strstr(buf_z(&out), "\n  idle: 300s  # default\n") != NULL);
    t_true(strstr(shorten(mem, buf_z(&out)), "networks: [\"::1\", 10.0.0.0/8]  # F:5\n") != NULL);
    t_true(strstr(shorten(mem, buf_z(&out)), "  lists:\n    - zone: a.example  # F:6\n      score: -5  # "
                                             "F:6\n      codes: [127.0.0.2]  # F:6\n") != NULL);
    t_true(strstr(buf_z(&out), "\n  aggregate:\n    enabled: false  # default\n") != NULL);

    t_case("what is shown is a settings file, and shows the same", NULL);
    unsetenv("SMTPGUARD_LIMITS__ERRORS");
    config = load(buf_z(&out), "", &again);
    t_same_z(buf_z(&again), "");
    t_same_int(config->limits.errors, 9);
    t_same_int(config->dnsbl.lists[0].score, -5);
    t_same_z(config->authserv_id, "null");
    config_unref(&config);
    buf_fini(&again);

    t_case("as JSON", NULL);
    buf_clear(&out);
    write_file(settings_file, head, "dnsbl: {lists: [{zone: a.example, score: -5, codes: [127.0.0.2]}]}\n");
    t_same_int(config_show(settings_file, true, &out, &faults), 0);
    t_true(strstr(buf_z(&out), "\"limits.errors\":{\"value\":20,\"origin\":\"default\"}") != NULL);
    t_true(strstr(buf_z(&out), "\"limits.idle\":{\"value\":\"300s\",\"origin\":\"default\"}") != NULL);
    t_true(strstr(buf_z(&out), "\"reports.failure.body\":{\"value\":false,") != NULL);
    t_true(strstr(buf_z(&out), "\"tls.more\":{\"value\":[],") != NULL);
    t_true(strstr(shorten(mem, buf_z(&out)), "\"dnsbl.lists[0].score\":{\"value\":-5,\"origin\":\"F:4\"}") !=
           NULL);

    t_case("with faults nothing is shown but them", NULL);
    buf_clear(&out);
    write_file(settings_file, head, "mode: x\n");
    t_same_int(config_show(settings_file, false, &out, &faults), -1);
    t_same_int(out.n, 0);
    t_same_z(shorten(mem, buf_z(&faults)), "F:4:7: mode: \"x\" is not known; allowed: enforce, observe\n");
    buf_fini(&out);
    buf_fini(&faults);
    arena_free(&mem);
}

/* ---- the manual ---- */

/* The line of `text` that begins at `line`, and the comment right above it. */
static struct str lines_about(struct str text, unsigned line, struct str *own_out)
{
    const char *begin = text.p, *comment = text.p, *p = text.p;

    for (unsigned i = 1; i < line; i++) {
        struct str whole = str_upto(str_make(p, (size_t)(text.p + text.n - p)), strcspn(p, "\n"));
        struct str own = str_trim(whole);

        if (own.n == 0 || own.p[0] != '#')
            comment = p + whole.n + 1;
        p += whole.n + 1;
        begin = p;
    }
    *own_out = str_make(begin, strcspn(begin, "\n"));
    return str_make(comment, (size_t)(own_out->p + own_out->n - comment));
}

static bool contains(struct str text, const char *what)
{
    return memmem(text.p, text.n, what, strlen(what)) != NULL;
}

/* Lines "#   - key: …" of the samples in comments. */
static unsigned sample_lines(struct str text, const char *last)
{
    struct str line;
    unsigned count = 0;
    bool more = true;

    while (more) {
        more = str_cut(text, '\n', &line, &text);
        if (!str_starts(line, STR("# ")))
            continue;
        line = str_trim(str_from(line, 1));
        if (str_starts(line, STR("- ")))
            line = str_from(line, 2);
        count += str_starts(line, str_of(last)) && line.n > strlen(last) && line.p[strlen(last)] == ':';
    }
    return count;
}

static const struct yaml_node *node_at(struct arena *mem, const struct yaml_node *root, const char *path)
{
    struct str rest = str_of(path), segment;
    bool more = true;

    while (more && root != NULL) {
        more = str_cut(rest, '.', &segment, &rest);
        if (str_has(segment, '[')) {
            root = yaml_get(root, str_upto(segment, segment.n - 2));
            root = root != NULL && root->kind == YAML_LIST ? root->first : NULL;
        } else {
            root = yaml_get(root, str_copy(mem, segment));
        }
    }
    return root;
}

static void check_example_row(struct arena *mem, const struct setting *row, const struct yaml_node *root,
                              struct str text)
{
    const struct yaml_node *node = node_at(mem, root, row->key);
    static const struct place nowhere;
    struct str own, about;

    t_case(row->key, NULL);
    if (strncmp(row->key, "tls.more[]", 10) == 0 || strncmp(row->key, "dnsbl.lists[]", 13) == 0 ||
        strncmp(row->key, "dkim.sign.keys[]", 16) == 0) {
        t_true(sample_lines(text, strrchr(row->key, '.') + 1) >= 1); /* "key" is a word of two samples */
        return;
    }
    t_true(node != NULL);
    about = lines_about(text, node->key->at.line, &own);
    if (row->least != NULL && strcmp(row->least, row->most) != 0)
        t_true(contains(about, str_fmt(mem, "%s to %s", row->least, row->most)));
    if (row->type == SET_RECORDS && *row->standard != '\0')
        t_same_int(node->count, 1);
    else if (!contains(own, "(set me)"))
        t_true(yaml_same(node, node_of_text(mem, row, str_of(row->standard), &nowhere)));
    else
        t_true(row->standard == NULL || *row->standard == '\0');
}

static void test_example(void **state)
{
    struct arena *mem = arena_new(0);
    struct str text = t_read_file(mem, "smtpguard.yaml.example");
    struct faults faults;
    struct yaml_node *root;
    struct buf out;

    (void)state;
    buf_init(&out, 64 * 1024);
    faults_init(&faults, mem, "example");
    root = yaml_read(mem, text, &faults);
    faults_write(&faults, &out);
    t_same_z(buf_z(&out), "");
    for (size_t i = 0; i < settings_count; i++)
        check_example_row(mem, &settings[i], root, text);
    buf_fini(&out);

    t_case("the example is valid but for its certificate", NULL);
    write_file(settings_file, text.p, "");
    buf_init(&out, 64 * 1024);
    t_true(config_load(settings_file, &out) == NULL);
    t_true(strstr(buf_z(&out), "tls.cert: /etc/smtpguard/tls/fullchain.pem cannot be read") != NULL);
    t_true(strstr(buf_z(&out), "tls.key: /etc/smtpguard/tls/privkey.pem cannot be read") != NULL);
    t_same_z(strchr(strchr(buf_z(&out), '\n') + 1, '\n') + 1, "");
    buf_fini(&out);
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_mandatory),
        cmocka_unit_test(test_certificates), cmocka_unit_test(test_every_limit),
        cmocka_unit_test(test_values),       cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_recipients),   cmocka_unit_test(test_recipients_file),
        cmocka_unit_test(test_domains),      cmocka_unit_test(test_allow_files),
        cmocka_unit_test(test_environment),  cmocka_unit_test(test_show),
        cmocka_unit_test(test_example),
    };

    return cmocka_run_group_tests(tests, make_files, remove_files);
}
