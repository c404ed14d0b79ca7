#include "cli/doctor.h"

#include "store/redis_url.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { SOON_DAYS = 14, DAY_S = 24 * 3600, GROUPS_MAX = 64, SPOOL_MESSAGES = 10 };

/* ---- TLS ---- */

static bool offers_tls(const struct config *config)
{
    for (size_t i = 0; i < config->listens_count; i++)
        if (config->listens[i].tls != LISTEN_TLS_NONE)
            return true;
    return false;
}

static void look_at_expiry(struct doctor *doctor, int64_t not_after_unix)
{
    int64_t days = (not_after_unix - doctor->now_unix) / DAY_S;
    const char *renew = "renew it (certbot renew), and reload smtpguard";

    if (not_after_unix <= doctor->now_unix)
        doctor_add(doctor, DOCTOR_FAIL, "tls", renew, "the certificate expired %lld days ago",
                   (long long)-days);
    else
        doctor_add(doctor, days < SOON_DAYS ? DOCTOR_WARN : DOCTOR_OK, "tls", renew,
                   "the certificate is good for %lld days", (long long)days);
}

void doctor_tls(struct doctor *doctor)
{
    const struct config *config = doctor->lookup.config;
    struct tls_context *context;
    struct fail fail;

    if (!offers_tls(config) || config->tls.pair.cert == NULL || *config->tls.pair.cert == '\0') {
        doctor_add(doctor, DOCTOR_WARN, "tls", "set tls.cert and tls.key, and tls: starttls in listen",
                   "no TLS is offered: mail comes in plain text");
        return;
    }
    context = tls_server_context(&config->tls, &fail);
    if (context == NULL) {
        doctor_add(doctor, DOCTOR_FAIL, "tls", "correct tls.cert and tls.key, or their permissions", "%s",
                   fail.text);
        return;
    }
    doctor_add(doctor, DOCTOR_OK, "tls", NULL, "the key fits the certificate");
    look_at_expiry(doctor, tls_context_not_after_unix(context));
    if (config->hostname != NULL)
        doctor_add(doctor, tls_context_has_name(context, config->hostname) ? DOCTOR_OK : DOCTOR_WARN, "tls",
                   "get one for this name: senders with DANE or MTA-STS check it",
                   tls_context_has_name(context, config->hostname) ? "the certificate names %s"
                                                                   : "the certificate does not name %s",
                   config->hostname);
    tls_context_unref(&context);
}

/* ---- files, as the user sees them that smtpguard becomes ---- */

struct identity {
    const char *name;
    uid_t uid;
    gid_t groups[GROUPS_MAX];
    int groups_count;
};

/* Started as root it becomes runtime.user; else it stays who it is. */
static bool find_identity(const struct config *config, struct identity *identity)
{
    const struct passwd *user = geteuid() == 0 ? getpwnam(config->runtime.user) : getpwuid(geteuid());

    if (user == NULL)
        return false;
    identity->name = config->runtime.user;
    identity->uid = user->pw_uid;
    identity->groups_count = GROUPS_MAX;
    if (getgrouplist(user->pw_name, user->pw_gid, identity->groups, &identity->groups_count) < 0)
        identity->groups_count = GROUPS_MAX; /* the first of very many */
    return true;
}

/* The permission bits say it; access(2) would only say what this process may. */
static bool may(const struct identity *identity, const struct stat *st, mode_t bits)
{
    if (identity->uid == 0)
        return true;
    if (st->st_uid == identity->uid)
        return (st->st_mode >> 6 & bits) == bits;
    for (int i = 0; i < identity->groups_count; i++)
        if (identity->groups[i] == st->st_gid)
            return (st->st_mode >> 3 & bits) == bits;
    return (st->st_mode & bits) == bits;
}

/* NULL: fine; else what is wrong with this directory. */
static const char *wrong_with(struct doctor *doctor, const struct identity *identity, const char *dir)
{
    struct arena *mem = doctor->lookup.mem;
    struct stat st;

    if (stat(dir, &st) != 0)
        return str_fmt(mem, "%s: %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return str_fmt(mem, "%s is no directory", dir);
    return may(identity, &st, 3) ? NULL : str_fmt(mem, "%s is not writable for %s", dir, identity->name);
}

static const char *directory_of(struct arena *mem, const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? "." : slash == path ? "/" : str_dup(mem, str_make(path, (size_t)(slash - path)));
}

static bool identify(struct doctor *doctor, const char *part, struct identity *identity)
{
    if (find_identity(doctor->lookup.config, identity))
        return true;
    doctor_add(doctor, DOCTOR_FAIL, part, "create the user, or set runtime.user", "there is no user \"%s\"",
               doctor->lookup.config->runtime.user);
    return false;
}

static void ask_shared_store(struct doctor *doctor, const char *url)
{
    const char *shown = redis_url_shown(doctor->lookup.mem, str_of(url));
    struct fail fail;

    if (store_ping(url, &fail) == 0)
        doctor_add(doctor, DOCTOR_OK, "store", NULL, "%s answers", shown);
    else
        doctor_add(doctor, DOCTOR_WARN, "store",
                   "until it does the local file answers, and hosts share nothing", "%s", fail.text);
}

/* The file is not opened: that would make it, with this process's owner. */
void doctor_store(struct doctor *doctor)
{
    const struct store_settings *settings = &doctor->lookup.config->store;
    bool shared = redis_url_is(str_of(settings->url));
    const char *path = shared ? settings->local : settings->url + strlen("sqlite:"), *wrong;
    struct arena *mem = doctor->lookup.mem;
    struct identity identity;
    struct stat st;

    if (shared)
        ask_shared_store(doctor, settings->url);
    if (!identify(doctor, "store", &identity))
        return;
    wrong = wrong_with(doctor, &identity, directory_of(mem, path));
    if (wrong == NULL && stat(path, &st) == 0 && !may(&identity, &st, 6))
        wrong = str_fmt(mem, "%s is not writable for %s", path, identity.name);
    if (wrong != NULL)
        doctor_add(doctor, DOCTOR_FAIL, "store",
                   str_fmt(mem,
                           "install -d -o %s %s, and chown what is in it: without it greylisting forgets",
                           identity.name, directory_of(mem, path)),
                   "%s", wrong);
    else
        doctor_add(doctor, DOCTOR_OK, "store", NULL, "%s can be written by %s", path, identity.name);
}

void doctor_spool(struct doctor *doctor)
{
    const struct limit_settings *limits = &doctor->lookup.config->limits;
    struct identity identity;
    struct statvfs fs;
    uint64_t room;
    const char *wrong;

    if (!identify(doctor, "spool", &identity))
        return;
    wrong = wrong_with(doctor, &identity, limits->spool_dir);
    if (wrong == NULL && statvfs(limits->spool_dir, &fs) != 0)
        wrong = str_fmt(doctor->lookup.mem, "%s: %s", limits->spool_dir, strerror(errno));
    if (wrong != NULL) {
        doctor_add(doctor, DOCTOR_FAIL, "spool",
                   str_fmt(doctor->lookup.mem, "install -d -m 700 -o %s %s: large messages are deferred else",
                           identity.name, limits->spool_dir),
                   "%s", wrong);
        return;
    }
    room = (uint64_t)fs.f_bavail * fs.f_frsize;
    doctor_add(doctor, room < limits->message_bytes * SPOOL_MESSAGES ? DOCTOR_WARN : DOCTOR_OK, "spool",
               "make room, or set limits.spool_dir elsewhere",
               "%s can be written by %s and has room for %llu messages of the largest size",
               limits->spool_dir, identity.name,
               (unsigned long long)(room / (limits->message_bytes > 0 ? limits->message_bytes : 1)));
}
