#include "proxy/privileges.h"

#include "admin/control.h"

#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Each connection is a descriptor, each session may have one to the backend and one for its spool. What the
 * system does not let us have is said: clients beyond it are answered 421 from a descriptor kept in reserve. */
void privileges_descriptors(const struct config *config)
{
    rlim_t wanted = (rlim_t)config->limits.connections * 3 + 256;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    if (limit.rlim_max < wanted) {
        struct rlimit more = {wanted, wanted};

        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            return;
    }
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted)
        log_note(LOG_WARNING, "descriptors",
                 "%llu descriptors are allowed; limits.connections: %u may want %llu",
                 (unsigned long long)limit.rlim_cur, config->limits.connections, (unsigned long long)wanted);
}

/* Whoever it runs as: no program that it starts could gain anything, and no core file or debugger of another process
 * of that user gets at keys and mail. */
void privileges_lock(void)
{
    umask(077);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static const struct passwd *find_user(const char *name, struct fail *fail)
{
    const struct passwd *user = getpwnam(name);

    if (user == NULL)
        fail_set(fail,
                 "runtime.user: there is no user \"%s\"; make one (useradd --system %s) or name another",
                 name, name);
    return user;
}

static int become(const struct passwd *user, struct fail *fail)
{
    const char *name = user->pw_name;

    if (initgroups(name, user->pw_gid) != 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) != 0 ||
        setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0)
        return fail_errno(fail, "cannot become user %s", name);
    if (setuid(0) == 0 || geteuid() != user->pw_uid)
        return fail_set(fail, "root could be regained after becoming user %s", name);
    return 0;
}

/* Sockets are bound and keys are read: from here on nothing needs root, once the folder of the control socket is there.
 * Whether it worked is looked at afterwards. */
int privileges_drop(const struct config *config, struct fail *fail)
{
    const struct passwd *user = geteuid() == 0 ? find_user(config->runtime.user, fail) : NULL;

    if (geteuid() == 0 && user == NULL)
        return -1;
    if (*config->admin.socket != '\0') /* if it fails, binding the socket does, and says why */
        (void)control_prepare(config->admin.socket, user != NULL ? user->pw_uid : (uid_t)-1,
                              user != NULL ? user->pw_gid : (gid_t)-1, NULL);
    return user != NULL && user->pw_uid != 0 ? become(user, fail) : 0; /* root: asked for by name */
}
