#include "cli/cli.h"

#include "config/suggest.h"

#include <stdio.h>
#include <string.h>

const struct cli_verb cli_verbs[] = {
    {"run", "[-c FILE]", "Serves mail in the foreground; SIGHUP reloads the settings, SIGTERM drains, SIGUSR2 hands over to a new process.",
     cli_run, NULL},
    {"check-config", "[--json] [-c FILE | FILE]",
     "Says nothing, or every fault of the settings with its line.", cli_check_config, "0: fine; 78: faults"},
    {"config show", "[--json] [-c FILE]", "Every setting as it holds, and where it came from.",
     cli_config_show, NULL},
    {"config migrate",
     "[--json] [--postfix FILE] [--postgrey FILE] [--policyd-spf FILE] [--smf-spf FILE] [--opendkim FILE] [--opendmarc FILE]",
     "The settings of the programs that smtpguard replaces, as ours; without a file those at their usual places.",
     cli_config_migrate, "1: there are none; 65: a file cannot be read"},
    {"test spf",
     "[--json [--trace]] [-c FILE] [--dns IP:PORT] --ip IP [--helo NAME] [--from ADDR] [--receiver NAME]",
     "May this host send mail for this domain, and by which steps?", cli_test_spf,
     "1: fail; 75: temperror; 0: every other result"},
    {"test message",
     "[--json] [-c FILE] [--dns IP:PORT] [--ip IP --helo NAME --from ADDR] [--now UNIX] [--authserv-id ID] "
     "[FILE | -]",
     "Everything that a message would be judged by.", cli_test_message,
     "1: DMARC fails; 65: no message, or DMARC permerror; 75: temperror; 0: every other result"},
    {"test dmarc", "[--json] [-c FILE] [--dns IP:PORT] DOMAIN",
     "The DMARC policy of a domain, and by which steps it was found.", cli_test_dmarc,
     "0: found; 1: none; 65: permerror; 75: temperror"},
    {"test dnsbl", "[--json] [-c FILE] [--dns IP:PORT] IP",
     "What the DNS lists of the settings say about an address.", cli_test_dnsbl,
     "1: it would be refused; 75: a list did not answer; 0: neither"},
    {"test helo", "[--json] [-c FILE] [--dns IP:PORT] NAME --ip IP",
     "What a client's HELO name is worth, step by step.", cli_test_helo,
     "1: it would be refused; 75: the DNS did not answer; 0: neither"},
    {"test tls", "[--json] [-c FILE] [--dns IP:PORT] [--name NAME] [--implicit] HOST[:PORT] | IP[:PORT]",
     "Visits an SMTP server: does it offer TLS, does it work, and is its certificate good for the name?", cli_test_tls,
     "1: there is no TLS, or the certificate is not good; 69: the server cannot be reached; 75: the DNS did not answer; 0: all is good"},
    {"dkim genkey", "[--json] [--type rsa-2048|rsa-4096|ed25519] --domain D --selector S [--dir DIR]",
     "A new key in DIR/S.private, and the record to publish.", cli_dkim_genkey,
     "65: the file cannot be made"},
    {"dkim txt", "[--json] [--domain D] [--selector S] KEYFILE",
     "The record of a key that is there, for a zone file and raw.", cli_dkim_txt, "65: no key"},
    {"dkim check", "[--json] [-c FILE] [--dns IP:PORT] --domain D --selector S [--key FILE]",
     "Does the world see this key?", cli_dkim_check,
     "0: it does; 1: it does not; 75: the DNS did not answer"},
    {"dkim sign",
     "[--json] --domain D --selector S --key FILE [--canonicalization relaxed/relaxed] [--identity I] "
     "[--oversign NAME,NAME] [--expire SECONDS] [--now UNIX] [FILE | -]",
     "A message in, the signed message out.", cli_dkim_sign, "65: nothing to sign, or no key"},
    {"doctor", "[--json] [-c FILE] [--dns IP:PORT]",
     "What is wrong with this host's DNS, names, certificate, files and backends, and what to do.",
     cli_doctor, "0: it is well, though there may be warnings; 1: something fails"},
    {"status", "[--json] [-c FILE | --socket PATH]",
     "What the daemon does: sessions, messages, backends, store, DNS, lists.", cli_status,
     "69: there is no daemon to ask; 1: it refuses; 0: else"},
    {"top", "[--json | --once] [-c FILE | --socket PATH]",
     "The status, twice a second, with what happens a second; --once shows it once.", cli_top,
     "69: there is no daemon to ask; 1: it refuses; 0: else"},
    {"reload", "[--json] [-c FILE | --socket PATH]",
     "Has the daemon take new settings, or says what is wrong with them (then the old ones stay in force).", cli_reload,
     "0: they are in force; 78: faults; 69: there is no daemon to ask; 1: it refuses"},
    {"upgrade", "[--json] [-c FILE | --socket PATH]",
     "Has the daemon hand its sockets to a new process of the program file as it is now, and waits for it.", cli_upgrade,
     "0: the new one has taken over; 1: it has not, and the old one goes on; 69: there is no daemon to ask"},
    {"drain", "[--json] [-c FILE | --socket PATH]",
     "Has the daemon take no more sessions, and end when those that are open have.", cli_drain,
     "69: there is no daemon to ask; 1: it refuses; 0: else"},
    {"explain", "[--json] [-c FILE] [--limit N] ID | ADDRESS | IP",
     "Why mail was taken or refused: what was seen, who decided, and what the sender can do.", cli_explain,
     "1: nothing about it is on record; 65: the records cannot be read; 0: else"},
    {"history",
     "[--json] [-c FILE] [--since 1h] [--from ADDRESS] [--to ADDRESS] [--ip IP | NETWORK] [--action ACTION] [--limit N]",
     "What was decided lately, a line each, the newest last.", cli_history, "1: nothing is on record; 65: it cannot be read; 0: else"},
    {"replay", "[--json] -c NEW.yaml [--since 7d] [--limit N]",
     "What would have been decided with other settings: each change, and how many of what kind.", cli_replay,
     "0: nothing would change; 1: something would; 65: the records cannot be read"},
    {"sink",
     "[--json] --listen IP:PORT --maildir DIR [--port-file FILE] [--reject-rcpt PATTERN] [--defer-rcpt "
     "PATTERN] "
     "[--reply-data CODE] [--delay-ms N] [--no-pipelining] [--no-xclient] [--close-after-dot]",
     "A small backend that keeps what it gets, for trying out and for tests.", cli_sink, NULL},
    {"greylist list",
     "[--json] [-c FILE | --store URL] [--state waiting|passed|counted|trusted|allowed] [--limit N]",
     "All that the greylist remembers, client by client.", cli_greylist_list,
     "1: nothing; 69: the store is not available; 0: else"},
    {"greylist show", "[--json] [-c FILE | --store URL] IP | NETWORK | DOMAIN | ADDRESS",
     "What the greylist knows of a client, or of the mail of a sender or recipient.", cli_greylist_show,
     "1: nothing; 69: the store is not available; 0: else"},
    {"greylist allow", "[--json] [-c FILE | --store URL] IP | NETWORK | DOMAIN",
     "Lets a client pass from now on, until it is forgotten.", cli_greylist_allow,
     "69: the store is not available; 0: else"},
    {"greylist forget", "[--json] [-c FILE | --store URL] IP | NETWORK | DOMAIN | ADDRESS",
     "Makes a client, or the mail of a sender or recipient, unknown again.", cli_greylist_forget,
     "1: it was not known; 69: the store is not available; 0: else"},
    {"greylist stats", "[--json] [-c FILE | --store URL]", "How much the greylist remembers, and of what.",
     cli_greylist_stats, "69: the store is not available; 0: else"},
    {"greylist import", "[--json] [-c FILE | --store URL] --from postgrey DIR",
     "Takes over what postgrey remembers; needs db_dump. A second time changes nothing.", cli_greylist_import,
     "65: the folder cannot be read; 69: the store is not available; 0: else"},
    {"store ping", "[--json] [-c FILE | --store URL]", "Does the store answer, and how fast?", cli_store_ping,
     "69: it does not; 0: it does"},
    {"store backup", "[--json] [-c FILE | --store URL] FILE",
     "Copies the store's SQLite file, while the daemon uses it, to a new one.", cli_store_backup,
     "65: FILE is there already; 69: it cannot be read or written; 0: else"},
    {"store migrate", "[--json] [-c FILE] --from URL --to URL",
     "Merges all that hosts share from one store into another; both stay in use meanwhile.", cli_store_migrate,
     "69: one of them is not available; 0: else"},
    {"report list", "[--json] [-c FILE | --store URL] [--day YYYY-MM-DD]",
     "The domains that asked for DMARC reports, day by day, with the counts of their messages.",
     cli_report_list, "1: there are none; 69: the store is not available; 0: else"},
    {"report status", "[--json] [-c FILE | --store URL] [--day YYYY-MM-DD]",
     "Day by day: what was counted, how many reports were sent, are pending, or were given up.",
     cli_report_status, "69: the store is not available; 0: else"},
    {"report preview",
     "[--json] [-c FILE | --store URL] [--day YYYY-MM-DD] [--format rfc7489|rfc9990] [--mail] [--from ADDR] "
     "[--org-name NAME] [--hostname NAME] [--max-size BYTES] DOMAIN",
     "The aggregate report of a domain and day (yesterday) as XML, or as the mail that would be sent.",
     cli_report_preview,
     "1: there is nothing to report; 65: it cannot be built; 69: the store is not available"},
    {"report send",
     "[--json] [-c FILE | --store URL] [--dns IP:PORT] [--day YYYY-MM-DD] --from ADDR [--org-name NAME] "
     "[--hostname NAME] [--backend IP:PORT] [--format rfc7489|rfc9990] [--max-size BYTES] [--daily-cap N] "
     "[--null-sender] [--dry-run DIR] [DOMAIN]",
     "Sends the aggregate reports of a day (yesterday), or writes them to a folder.", cli_report_send,
     "69: the store is not available; 75: some are left for another run; 0: else"},
    {"report suppress", "[--json] [-c FILE | --store URL] [[--reason TEXT | --remove] ADDRESS | DOMAIN]",
     "Who gets no reports: lists them, or adds or removes one.", cli_report_suppress,
     "69: the store is not available; 0: else"},
    {"report export", "[-c FILE | --store URL] [--day YYYY-MM-DD]",
     "Writes the counts of DMARC for another host to import.", cli_report_export,
     "69: the store is not available; 0: else"},
    {"report import", "[--json] [-c FILE | --store URL] [--from opendmarc] [FILE | -]",
     "Adds another host's counts to ours; a second time changes nothing.", cli_report_import,
     "65: the file is not whole; 69: the store is not available; 0: else"},
    {"report expire", "[--json] [-c FILE | --store URL] [--keep DAYS]",
     "Forgets the counts of days that are older (14; they go by themselves then).", cli_report_expire,
     "69: the store is not available; 0: else"},
    {"report show", "[--json] FILE | -", "Prints a received aggregate report (xml, gz, zip) as a table.",
     cli_report_show, "65: it is no report; 0: it is"},
    {"version", "[--json]", "The version of smtpguard and of the libraries it runs with.", cli_version, NULL},
};
const size_t cli_verbs_count = sizeof(cli_verbs) / sizeof(cli_verbs[0]);

/* How many arguments the verb's words take, or 0 when they are others. */
static int words_matched(const char *words, int argc, char **argv)
{
    struct str rest = str_of(words), word;
    bool more = true;
    int n = 0;

    while (more) {
        more = str_cut(rest, ' ', &word, &rest);
        if (n == argc || !str_eq_z(word, argv[n]))
            return 0;
        n++;
    }
    return n;
}

/* Is `word` the first of a verb's two words ("test"), or "" for all verbs? */
static bool is_group(const char *words, const char *word)
{
    struct str first, second;

    return *word == '\0' || (str_cut(str_of(words), ' ', &first, &second) && str_eq_z(first, word));
}

static int list_verbs(FILE *out, const char *group)
{
    int count = 0;

    for (size_t i = 0; i < cli_verbs_count; i++)
        if (is_group(cli_verbs[i].words, group)) {
            if (count++ == 0)
                fprintf(out, "usage: smtpguard VERB [OPTIONS]     (smtpguard VERB --help tells more)\n\n");
            fprintf(out, "  %-16s %s\n", cli_verbs[i].words, cli_verbs[i].summary);
        }
    return count;
}

static int unknown_verb(int argc, char **argv)
{
    struct arena *mem = arena_new(0);
    const char *two = argc > 1 && argv[1][0] != '-' ? str_fmt(mem, "%s %s", argv[0], argv[1]) : argv[0];
    struct suggestion near;

    /* The words as one first, so that "test sfp" finds "test spf". */
    suggest_begin(&near, str_of(two));
    for (size_t i = 0; i < cli_verbs_count; i++)
        suggest_try(&near, cli_verbs[i].words);
    if (near.best == NULL)
        suggest_begin(&near, str_of(argv[0]));
    for (size_t i = 0; i < cli_verbs_count; i++)
        suggest_try(&near, cli_verbs[i].words);
    fprintf(stderr, "smtpguard: there is no verb \"%.100s\"%s\n", two, suggest_text(mem, &near));
    if (near.best == NULL)
        fprintf(stderr, "smtpguard --help lists them\n");
    arena_free(&mem);
    return CLI_USAGE;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0)
            return true;
    return false;
}

static int run_verb(const struct cli_verb *verb, int argc, char **argv)
{
    if (wants_help(argc, argv)) {
        printf("usage: smtpguard %s %s\n\n%s\n", verb->words, verb->synopsis, verb->summary);
        if (verb->codes != NULL)
            printf("Exit code %s. (64: usage.)\n", verb->codes);
        return CLI_FINE;
    }
    cli_current = verb;
    return verb->run(argc, argv);
}

static int dispatch(int argc, char **argv)
{
    if (argc == 0) {
        list_verbs(stdout, "");
        return CLI_USAGE;
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 || strcmp(argv[0], "help") == 0) {
        list_verbs(stdout, "");
        return CLI_FINE;
    }
    if (strcmp(argv[0], "--version") == 0)
        return cli_version(argc, argv);
    for (size_t i = 0; i < cli_verbs_count; i++) {
        int n = words_matched(cli_verbs[i].words, argc, argv);

        if (n > 0)
            return run_verb(&cli_verbs[i], argc - n + 1, argv + n - 1);
    }
    if ((argc == 1 || argv[1][0] == '-') && list_verbs(stdout, argv[0]) > 0)
        return argc > 1 && strcmp(argv[1], "--help") == 0 ? CLI_FINE : CLI_USAGE;
    return unknown_verb(argc, argv);
}

int main(int argc, char **argv)
{
    int code = dispatch(argc - (argc > 0), argv + (argc > 0));

    /* A full disk or a closed pipe must not look like an answer. */
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        fprintf(stderr, "smtpguard: standard output could not be written\n");
        return code == CLI_FINE ? CLI_NO : code;
    }
    return code;
}
