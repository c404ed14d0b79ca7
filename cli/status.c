#include "cli/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MINUTE = 60, HOUR = 3600, DAY = 86400 };

/* ---- lines: a word, and what is to be said of it ---- */

static void begin(const char *word)
{
    printf("%-11s", word);
}

uint64_t cli_status_number(const struct yaml_node *node, const char *path)
{
    uint64_t value = 0;

    (void)str_to_u64(str_of(cli_control_text(node, path)), UINT64_MAX, &value);
    return value;
}

static const struct yaml_node *first_of(const struct yaml_node *status, const char *list)
{
    const struct yaml_node *node = yaml_get(status, str_of(list));

    return node != NULL ? node->first : NULL;
}

static void print_span(uint64_t s)
{
    if (s >= DAY)
        printf("%" PRIu64 " d %" PRIu64 " h", s / DAY, s % DAY / HOUR);
    else if (s >= HOUR)
        printf("%" PRIu64 " h %" PRIu64 " min", s / HOUR, s % HOUR / MINUTE);
    else if (s >= MINUTE)
        printf("%" PRIu64 " min %" PRIu64 " s", s / MINUTE, s % MINUTE);
    else
        printf("%" PRIu64 " s", s);
}

static void print_process(const struct yaml_node *status)
{
    printf("smtpguard %s on %s, process %s, up ", cli_control_text(status, "version"),
           cli_control_text(status, "hostname"), cli_control_text(status, "pid"));
    print_span(cli_status_number(status, "uptime_s"));
    if (cli_status_number(status, "silent_workers") > 0)
        printf("; %s of %s workers STAND STILL", cli_control_text(status, "silent_workers"),
               cli_control_text(status, "workers"));
    puts(cli_control_is(status, "draining") ? "; it drains: no new sessions" : "");
}

static void print_settings(const struct yaml_node *status)
{
    begin("settings");
    printf("%s, loaded ", cli_control_text(status, "settings.file"));
    cli_print_time((int64_t)cli_status_number(status, "settings.loaded"));
    puts(cli_control_is(status, "settings.last_reload_failed") ? "; the last reload FAILED (the log says why)"
                                                               : "");
}

static void print_upgrade(const struct yaml_node *status)
{
    const char *failed = cli_control_text(status, "upgrade.failed");

    if (*failed != '\0')
        printf("%-11sthe last one FAILED: %s\n", "upgrade", failed);
    else if (cli_control_is(status, "upgrade.running"))
        printf("%-11sa new process gets ready\n", "upgrade");
}

static void print_listeners(const struct yaml_node *status)
{
    for (const struct yaml_node *one = first_of(status, "listeners"); one != NULL; one = one->next) {
        begin("listener");
        printf("%s (%s, %s)\n", cli_control_text(one, "address"), cli_control_text(one, "name"),
               cli_control_text(one, "role"));
    }
}

/* "accept 3, reject 0" */
static void print_counts(const char *word, const struct yaml_node *map)
{
    const char *comma = "";

    begin(word);
    for (const struct yaml_node *one = map != NULL ? map->first : NULL; one != NULL; one = one->next) {
        printf("%s%s %s", comma, one->key->text.p, one->text.p);
        comma = ", ";
    }
    putchar('\n');
}

static void print_sessions(const struct yaml_node *status)
{
    const struct yaml_node *sessions = yaml_get(status, STR("sessions"));
    const struct yaml_node *now = sessions != NULL ? yaml_get(sessions, STR("now")) : NULL;

    begin("sessions");
    printf("%s open, %s begun, %s refused by limits\n", cli_control_text(status, "sessions.open"),
           cli_control_text(status, "sessions.begun"), cli_control_text(status, "sessions.refused"));
    if (now != NULL && now->count > 0)
        print_counts("  now", now);
    print_counts("messages", yaml_get(status, STR("messages")));
    print_counts("recipients", yaml_get(status, STR("recipients")));
}

static void print_backends(const struct yaml_node *status)
{
    for (const struct yaml_node *one = first_of(status, "backends"); one != NULL; one = one->next) {
        begin("backend");
        printf("%s %s, %s connections opened\n", cli_control_text(one, "address"),
               cli_control_is(one, "up") ? "up" : "DOWN", cli_control_text(one, "opened"));
    }
}

static void print_store(const struct yaml_node *status)
{
    const char *shared = cli_control_text(status, "store.shared");

    begin("store");
    fputs(cli_control_is(status, "store.available") ? "available" : "AWAY", stdout);
    puts(strcmp(shared, "away") == 0  ? "; the shared one does not answer: the local one does"
         : strcmp(shared, "yes") == 0 ? ", shared"
                                      : "");
}

static void print_dns(const struct yaml_node *status)
{
    uint64_t sick = cli_status_number(status, "dns.sick_workers");

    begin("dns");
    if (sick > 0)
        printf("does NOT answer %" PRIu64 " of %s workers\n", sick, cli_control_text(status, "workers"));
    else
        puts("well");
}

static void print_lists(const struct yaml_node *status)
{
    for (const struct yaml_node *one = first_of(status, "lists"); one != NULL; one = one->next) {
        begin("list");
        printf("%s %s\n", cli_control_text(one, "zone"),
               cli_control_is(one, "off") ? "OFF (the log says why)" : "asked");
    }
}

void cli_status_print(const struct yaml_node *status)
{
    print_process(status);
    print_settings(status);
    print_upgrade(status);
    print_listeners(status);
    print_sessions(status);
    print_backends(status);
    print_store(status);
    print_dns(status);
    print_lists(status);
}

static int tell(const struct cli_control *control, struct str text, const struct yaml_node *answer)
{
    if (control->json)
        printf("%.*s\n", STR_ARG(text));
    else
        cli_status_print(answer);
    return CLI_FINE;
}

int cli_status(int argc, char **argv)
{
    return cli_control_run("status", tell, argc, argv);
}
