/* What becomes of other programs' settings: each row is a file and the lines that it comes to. */
#include "cli/migrate.h"

#include "base/bug.h"
#include "config/config.h"
#include "tests/t.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef int migrate_program(struct migration *m, const char *file, struct fail *fail);

static char path[] = "/tmp/migrate-test-XXXXXX";
static struct arena *mem;
static struct migration migration;

static int set_up(void **state)
{
    (void)state;
    strcpy(path + sizeof(path) - 7, "XXXXXX");
    close(mkstemp(path));
    mem = arena_new(0);
    migrate_init(&migration, mem);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    arena_free(&mem);
    return 0;
}

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");

    fputs(text, file);
    fclose(file);
}

/* "greylist.delay: 300s; …" in the order of the file; what was left as "- --inet; …". */
static void read_as(migrate_program *program, const char *text, char *seen, size_t room)
{
    struct fail fail = {0};
    size_t n = 0;

    write_file(text);
    migrate_init(&migration, mem);
    t_same_int(program(&migration, path, &fail), 0);
    seen[0] = '\0';
    for (const struct migrated *each = migration.first; each != NULL && n < room; each = each->next)
        n += (size_t)(each->setting != NULL
                          ? snprintf(seen + n, room - n, "%s: %s; ", each->setting, each->value)
                          : snprintf(seen + n, room - n, "- %s; ", each->from.key));
}

struct row {
    migrate_program *program;
    const char *text, *want;
};

static const struct row rows[] = {
    {migrate_postgrey,
     "# POSTGREY_OPTS=\"--delay=1\"\nPOSTGREY_OPTS=\"--inet=127.0.0.1:10023 --delay=300 --max-age=40\"\n",
     "- --inet; greylist.delay: 300s; greylist.keep: 40d; greylist.when: always; "},
    {migrate_postgrey,
     "export POSTGREY_OPTS='--delay 60 --lookup-by-host --retry-window=36h \\\n  --auto-whitelist-clients "
     "-d'\n"
     "POSTGREY_TEXT=\"Come again\"\n",
     "greylist.delay: 60s; greylist.ipv4_prefix: 32; greylist.ipv6_prefix: 128; greylist.window: 36h; "
     "greylist.allow_after: 5; - -d; greylist.when: always; "},
    {migrate_postgrey,
     "POSTGREY_OPTS=\"--delay=soon --retry-window=2 --whitelist-clients=/a/b --whitelist-recipients=r "
     "--nonsense\"\n",
     "- --delay; greylist.window: 2d; greylist.allow[]: \"file:/a/b\"; - --whitelist-recipients; - "
     "--nonsense; "
     "greylist.when: always; "},
    {migrate_policyd_spf,
     "TestOnly = 0\nMail_From_reject = Softfail # as they say\nPermError_reject = "
     "True\nTempError_Defer=True\n"
     "skip_addresses = 127.0.0.0/8,192.0.2.0/24\n",
     "spf.mode: observe; spf.on_fail: reject; spf.on_softfail: reject; spf.on_permerror: reject; "
     "spf.on_temperror: defer; - skip_addresses; "},
    {migrate_policyd_spf, "Mail_From_reject = False\nAuthserv_Id = mx.example.net\n",
     "spf.on_fail: mark; authserv_id: mx.example.net; "},
    {migrate_policyd_spf, "debugLevel = 1\n", "- debugLevel; spf.on_fail: reject; "},
    {migrate_smf_spf,
     "WhitelistIP\t10.0.0.0/8\nRefuseFail\toff\t# (on|off)\nAcceptTempError off\nTag [SPF:fail]\n",
     "- WhitelistIP; spf.on_fail: mark; spf.on_temperror: defer; - Tag; "},
    {migrate_smf_spf, "SoftFail on\nRefuseFail on\n", "spf.on_fail: defer; - RefuseFail; "},
    {migrate_smf_spf, "", "spf.on_fail: reject; "},
    {migrate_opendkim,
     "Mode sv\nSigningTable refile:/etc/opendkim/signing.table\nKeyTable /etc/opendkim/key.table\n"
     "InternalHosts refile:/etc/opendkim/TrustedHosts\nCanonicalization relaxed\nSocket "
     "inet:8891@localhost\n",
     "dkim.sign.signing_table: /etc/opendkim/signing.table; dkim.sign.key_table: /etc/opendkim/key.table; "
     "dkim.sign.internal_hosts: /etc/opendkim/TrustedHosts; dkim.sign.canonicalization: relaxed/simple; - "
     "Socket; "
     "dkim.sign.mode: enforce; "},
    {migrate_opendkim,
     "domain Example.ORG, example.net\nselector 2026\nkeyfile /etc/dkim/2026.private\nSubDomains yes\n",
     "dkim.sign.keys[]: {domain: example.org, selector: \"2026\", key: /etc/dkim/2026.private, match: "
     "[\"*@example.org\", \"*@*.example.org\"]}; "
     "dkim.sign.keys[]: {domain: example.net, selector: \"2026\", key: /etc/dkim/2026.private, match: "
     "[\"*@example.net\", \"*@*.example.net\"]}; dkim.sign.mode: enforce; "},
    {migrate_opendkim,
     "Mode v\nDomain example.org\nMinimumKeyBits 512\nOversignHeaders From\nOversignHeaders From,List-Id\n",
     "- MinimumKeyBits; - OversignHeaders; dkim.sign.oversign[]: from; dkim.sign.oversign[]: list-id; - "
     "Domain; - Mode; "},
    {migrate_opendkim,
     "Canonicalization loose\nNameservers 192.0.2.1,localhost\nDNSTimeout 10\nAuthservID HOSTNAME\n",
     "- Canonicalization; dns.servers[]: \"192.0.2.1\"; - Nameservers; dns.timeout: 10s; - AuthservID; "},
    {migrate_opendmarc,
     "RejectFailures true\nAuthservID mx.example.net\nFailureReports yes\nFailureReportsSentBy "
     "dmarc@example.net\n"
     "HistoryFile /run/opendmarc/opendmarc.dat\nRequiredHeaders true\n",
     "dmarc.reject: always; authserv_id: mx.example.net; reports.failure.enabled: true; "
     "reports.from: \"dmarc@example.net\"; - HistoryFile; dmarc.from_invalid: reject; "},
    {migrate_postfix,
     "myhostname = mx.example.net\nmydomain = example.net\nmydestination = $myhostname, "
     "localhost.$mydomain,\n"
     "  # a remark in between\n  ${mydomain} localhost\nrelay_domains = hash:/etc/postfix/relay\n"
     "mynetworks = 127.0.0.0/8 [::1]/128 nonsense\nqueue_directory = /var/spool/postfix\n",
     "hostname: mx.example.net; domains.relay[]: mx.example.net; domains.relay[]: "
     "example.net; "
     "- relay_domains; networks[]: 127.0.0.0/8; networks[]: \"::1/128\"; - mynetworks; "},
    {migrate_postfix,
     "postscreen_dnsbl_threshold = 3\npostscreen_dnsbl_sites = zen.example.org*3 "
     "list.example.org=127.0.[0..255].[1..3]*-2\n allow.example.org=127.0.0.[2;4..6]*-4\n"
     "smtpd_recipient_restrictions = permit_mynetworks, reject_rbl_client bl.example.org=127.0.0.2,\n"
     " reject_rhsbl_sender dbl.example.org, check_policy_service inet:127.0.0.1:10023, permit\n"
     "smtpd_milters = inet:127.0.0.1:8891\nmessage_size_limit = 0\n",
     "- message_size_limit; dnsbl.reject_score: 3; "
     "dnsbl.lists[]: {zone: zen.example.org, score: 3, codes: [127.0.0.2-127.0.0.11]}; - "
     "postscreen_dnsbl_sites; "
     "dnsbl.lists[]: {zone: allow.example.org, score: -4, codes: [127.0.0.2, 127.0.0.4-127.0.0.6]}; "
     "dnsbl.lists[]: {zone: bl.example.org, score: 3, codes: [127.0.0.2]}; "
     "dnsbl.lists[]: {zone: dbl.example.org, score: 3, codes: [127.0.0.2-127.0.1.254], kind: domains}; "
     "- smtpd_recipient_restrictions; - smtpd_milters; "},
    {migrate_postfix, "message_size_limit = 10240001\n", "limits.message_size: 10001K; "},
    {migrate_postfix, "a = $b\nb = $a\nmyhostname = $a\nmydestination = ${} $ $nobody\n",
     "- myhostname; - mydestination; - mydestination; - mydestination; "},
};

/* Lists at postgrey's usual places are there or not, as the machine has it. */
static void without_usual_lists(char *seen)
{
    static const char *const usual[] = {
        "greylist.allow[]: \"file:/etc/postgrey/whitelist_clients\"; ",
        "greylist.allow[]: \"file:/etc/postgrey/whitelist_clients.local\"; ",
        "greylist.allow_recipients[]: \"file:/etc/postgrey/whitelist_recipients\"; "};

    for (size_t i = 0; i < COUNT(usual); i++) {
        char *at = strstr(seen, usual[i]);

        if (at != NULL)
            memmove(at, at + strlen(usual[i]), strlen(at + strlen(usual[i])) + 1);
    }
}

static void test_programs(void **state)
{
    char seen[4096];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].text, NULL);
        read_as(rows[i].program, rows[i].text, seen, sizeof(seen));
        without_usual_lists(seen);
        t_same_z(seen, rows[i].want);
    }
}

static void test_unreadable(void **state)
{
    struct fail fail = {0};
    FILE *file;

    (void)state;
    t_case("a file that is not there, a folder, and one that is too long", NULL);
    t_same_int(migrate_opendkim(&migration, "/nowhere", &fail), -1);
    t_same_int(migrate_opendkim(&migration, "/tmp", &fail), -1);
    file = fopen(path, "w");
    for (int i = 0; i < 70000; i++)
        fputs("Syslog yes 12345\n", file);
    fclose(file);
    t_same_int(migrate_opendkim(&migration, path, &fail), -1);
    t_case("more keys than anybody has are said, and not all kept", NULL);
    file = fopen(path, "w");
    for (int i = 0; i < 6000; i++)
        fprintf(file, "Key%d x\n", i);
    fclose(file);
    t_same_int(migrate_opendkim(&migration, path, &fail), 0);
    t_true(migration.overflow);
    t_same_int(migration.left, MIGRATE_RECORDS_MAX);
}

/* What all programs come to is a settings file that has nothing wrong but what only its reader knows. */
static void test_yaml(void **state)
{
    static const char evil[] =
        "OversignHeaders From,\"x: y\",{,#,'\x1b[31m,\xff\nAuthservID mx\x01.example.net\n";
    struct buf out, faults;
    struct fail fail;
    const struct config *config;

    (void)state;
    write_file(
        "myhostname = mx.example.net\nmydestination = example.net\nsmtpd_tls_cert_file = /nowhere/cert\n"
        "smtpd_tls_key_file = /nowhere/key\npostscreen_dnsbl_sites = zen.example.org*3\n");
    t_same_int(migrate_postfix(&migration, path, &fail), 0);
    write_file("POSTGREY_OPTS=\"--delay=300 --max-age=40\"\n");
    t_same_int(migrate_postgrey(&migration, path, &fail), 0);
    write_file("RejectFailures true\nAuthservID mx.example.net\n");
    t_same_int(migrate_opendmarc(&migration, path, &fail), 0);
    buf_init(&out, 100000);
    buf_init(&faults, 100000);
    migrate_write_yaml(&migration, &out);
    write_file(buf_z(&out));
    config = config_load(path, &faults);
    t_case("it is a settings file, in which only the certificate is missing", NULL);
    t_true(config == NULL);
    t_true(strstr(buf_z(&faults), "/nowhere/cert") != NULL);
    for (const char *line = buf_z(&faults); *line != '\0'; line = strchr(line, '\n') + 1)
        t_true(strncmp(strchr(line, ' '), " tls.", 5) == 0 || strstr(line, "greylist.allow") != NULL);
    t_case("a setting has its origin behind it, and what is wanted is said", NULL);
    t_true(strstr(buf_z(&out), "  delay: 300s   # ") != NULL);
    t_case("whatever a file says, the outcome is one line a setting, without controls", NULL);
    migrate_init(&migration, mem);
    write_file(evil);
    t_same_int(migrate_opendkim(&migration, path, &fail), 0);
    buf_clear(&out);
    migrate_write_yaml(&migration, &out);
    t_true(strstr(buf_z(&out), "    - \"\\\"x:\"") != NULL);
    for (size_t i = 0; i < buf_str(&out).n; i++)
        t_true(buf_str(&out).p[i] == '\n' || (unsigned char)buf_str(&out).p[i] >= ' ');
    t_true(strstr(buf_z(&out), "hostname: mx.example.net   # set me\n") != NULL);
    buf_fini(&out);
    buf_fini(&faults);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {ROW(test_programs), ROW(test_unreadable), ROW(test_yaml)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
