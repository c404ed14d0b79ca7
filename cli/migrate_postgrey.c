#include "cli/migrate.h"

#include "base/bug.h"

#include <string.h>
#include <unistd.h>

/* postgrey: the options of /etc/default/postgrey, and the lists that it reads when no option names others. */

/* "5" or "5h"; days unless it says so. */
static void take_window(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    struct str number = entry->value;
    bool hours = number.n > 0 && number.p[number.n - 1] == 'h';
    uint64_t value;

    if (hours)
        number.n--;
    if (str_to_u64(number, 10000, &value))
        migrate_take(m, entry, setting, str_fmt(m->mem, "%u%s", (unsigned)value, hours ? "h" : "d"), NULL);
    else
        migrate_leave(m, entry, "it is no number of days or hours");
}

static void take_days(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    if (str_has(entry->value, 'h'))
        migrate_leave(m, entry, "it is no number of days");
    else
        take_window(m, entry, setting);
}

/* Without a value it is 5. */
static void take_auto_whitelist(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    if (entry->value.n == 0)
        migrate_take(m, entry, setting, "5", NULL);
    else
        migrate_take_number(m, entry, setting);
}

static void take_by_host(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    (void)setting;
    migrate_take(m, entry, "greylist.ipv4_prefix", "32", NULL);
    migrate_take(m, entry, "greylist.ipv6_prefix", "128", NULL);
}

static void take_list(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    if (entry->value.n == 0 || entry->value.p[0] != '/')
        migrate_leave(m, entry, "it is no absolute path of a file");
    else
        migrate_take(m, entry, setting,
                     migrate_text(m, str_of(str_fmt(m->mem, "file:%.*s", STR_ARG(entry->value)))), NULL);
}

static const struct migrate_rule rules[] = {
    {"--delay", migrate_take_seconds, "greylist.delay", NULL},
    {"--max-age", take_days, "greylist.keep", NULL},
    {"--retry-window", take_window, "greylist.window", NULL},
    {"--auto-whitelist-clients", take_auto_whitelist, "greylist.allow_after", NULL},
    {"--lookup-by-host", take_by_host, NULL, NULL},
    {"--lookup-by-subnet", NULL, NULL, "networks are what smtpguard goes by where no name is proven"},
    {"--ipv4cidr", migrate_take_number, "greylist.ipv4_prefix", NULL},
    {"--ipv6cidr", migrate_take_number, "greylist.ipv6_prefix", NULL},
    {"--whitelist-clients", take_list, "greylist.allow[]", NULL},
    {"--whitelist-recipients", take_list, "greylist.allow_recipients[]", NULL},
    {"--dbdir", NULL, NULL, "its rows come over with `smtpguard greylist import --from postgrey DIR`"},
    {"--privacy", NULL, NULL, "the store keeps addresses; log.privacy is for the log"},
    {"--greylist-text", NULL, NULL, "the reply is smtpguard's, and says how many seconds are left"},
    {"--greylist-action", NULL, NULL, "the reply is 451"},
    {"--x-greylist-header", NULL, NULL, "no field is added"},
    {"--hostname", NULL, NULL, "the name is `hostname`"},
};

static void take_usual_list(struct migration *m, const char *file, const char *path, const char *setting)
{
    if (access(path, F_OK) == 0)
        take_list(m, &(struct migrate_entry){file, 0, "its usual lists", str_of(path)}, setting);
}

int migrate_postgrey(struct migration *m, const char *file, struct fail *fail)
{
    const struct migrate_entry program = {file, 0, "postgrey", STR("")};

    if (migrate_read_options(m, file, "POSTGREY_OPTS", rules, COUNT(rules), fail) != 0)
        return -1;
    migrate_take(m, &program, "greylist.when", "always",
                 "it delays every stranger; \"suspicious\", the default, delays fewer");
    if (migrate_find(m, "greylist.allow[]") == NULL) {
        take_usual_list(m, file, "/etc/postgrey/whitelist_clients", "greylist.allow[]");
        take_usual_list(m, file, "/etc/postgrey/whitelist_clients.local", "greylist.allow[]");
    }
    if (migrate_find(m, "greylist.allow_recipients[]") == NULL)
        take_usual_list(m, file, "/etc/postgrey/whitelist_recipients", "greylist.allow_recipients[]");
    return 0;
}
