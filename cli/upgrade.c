#include "cli/status.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LOOK_MS = 100, MOST_MS = 30000 };

static int tell_end(const struct cli_control *control, const char *pid, const char *failed)
{
    if (control->json)
        printf("{\"upgraded\":%s,\"pid\":%s}\n", *failed == '\0' ? "true" : "false", pid);
    else if (*failed == '\0')
        printf("process %s has taken over\n", pid);
    if (*failed != '\0')
        fprintf(stderr, "smtpguard upgrade: %s; process %s goes on\n", failed, pid);
    return *failed == '\0' ? CLI_FINE : CLI_NO;
}

/* One look. False: it has not ended yet. */
static bool has_ended(struct cli_control *control, const char *elder, int *code_out)
{
    const struct yaml_node *status;
    const char *pid, *failed;
    struct str text;

    *code_out = cli_control_ask(control, "status", &text, &status);
    if (*code_out != CLI_FINE)
        return true;
    pid = cli_control_text(status, "pid");
    failed = cli_control_text(status, "upgrade.failed");
    if (strcmp(pid, elder) == 0 && *failed == '\0')
        return false;
    *code_out = tell_end(control, pid, strcmp(pid, elder) == 0 ? failed : "");
    return true;
}

static int wait_for_end(struct cli_control *control, const char *elder)
{
    int code;

    for (int waited_ms = 0; waited_ms < MOST_MS; waited_ms += LOOK_MS) {
        if (has_ended(control, elder, &code))
            return code;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    }
    return tell_end(control, elder, "it has not ended yet; the status will tell");
}

int cli_upgrade(int argc, char **argv)
{
    const struct yaml_node *answer;
    struct cli_control control;
    struct str text;
    int code = cli_control_open(&control, "upgrade", false, argc, argv);

    if (code == CLI_FINE)
        code = cli_control_ask(&control, "upgrade", &text, &answer);
    if (code == CLI_FINE && cli_control_is(answer, "begun"))
        code = wait_for_end(&control, cli_control_text(answer, "pid"));
    else if (code == CLI_FINE)
        code = tell_end(&control, cli_control_text(answer, "pid"), cli_control_text(answer, "failed"));
    cli_control_close(&control);
    return code;
}
