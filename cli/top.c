#include "cli/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PACE_MS = 500, ACTIONS_MAX = 8 };

/* What rates are made of. */
struct sample {
    int64_t at_ms;
    uint64_t pid, begun, counts[ACTIONS_MAX];
};

static void take_sample(const struct yaml_node *status, struct sample *out)
{
    const struct yaml_node *messages = yaml_get(status, STR("messages"));
    const struct yaml_node *one = messages != NULL ? messages->first : NULL;

    *out = (struct sample){.at_ms = clock_mono_ms(clock_system()),
                           .pid = cli_status_number(status, "pid"),
                           .begun = cli_status_number(status, "sessions.begun")};
    for (size_t i = 0; one != NULL && i < ACTIONS_MAX; i++, one = one->next)
        (void)str_to_u64(one->text, UINT64_MAX, &out->counts[i]);
}

static double rate(uint64_t before, uint64_t now, const struct sample *first, const struct sample *last)
{
    int64_t ms = last->at_ms - first->at_ms;

    return now >= before && ms > 0 ? (double)(now - before) * 1000 / (double)ms : 0;
}

/* None between two processes: a new one has counted from 0. */
static void print_rates(const struct yaml_node *status, const struct sample *first, const struct sample *last)
{
    const struct yaml_node *messages = yaml_get(status, STR("messages"));
    const struct yaml_node *one = messages != NULL ? messages->first : NULL;

    if (first->pid != last->pid)
        return;
    printf("%-11s%.1f sessions", "a second", rate(first->begun, last->begun, first, last));
    for (size_t i = 0; one != NULL && i < ACTIONS_MAX; i++, one = one->next)
        printf(", %s %.1f", one->key->text.p, rate(first->counts[i], last->counts[i], first, last));
    putchar('\n');
}

static void clear_screen(void)
{
    if (isatty(STDOUT_FILENO))
        fputs("\033[H\033[2J", stdout);
    else
        putchar('\n');
}

/* Asks, and shows it with the rates since `first`; those of the first time are none, and nothing is shown of it. */
static int show(const struct cli_control *control, struct sample *first, bool is_first)
{
    struct cli_control frame = *control;
    const struct yaml_node *status;
    struct sample last;
    struct str text;
    int code;

    frame.mem = arena_new(0);
    code = cli_control_ask(&frame, "status", &text, &status);
    if (code == CLI_FINE && control->json) {
        printf("%.*s\n", STR_ARG(text));
    } else if (code == CLI_FINE) {
        take_sample(status, &last);
        if (!is_first) {
            if (!control->once)
                clear_screen();
            cli_status_print(status);
            print_rates(status, first, &last);
            fflush(stdout);
        }
        *first = last;
    }
    arena_free(&frame.mem);
    return code;
}

static void wait_a_moment(void)
{
    nanosleep(&(struct timespec){.tv_nsec = PACE_MS * 1000000L}, NULL);
}

/* A daemon that goes away is waited for: it may be restarted. */
int cli_top(int argc, char **argv)
{
    struct cli_control control;
    struct sample sample = {0};
    int code = cli_control_open(&control, "top", true, argc, argv);

    if (code == CLI_FINE)
        code = show(&control, &sample, true);
    if (code == CLI_FINE && !control.json)
        do {
            wait_a_moment();
            code = show(&control, &sample, false);
        } while (!control.once && !ferror(stdout));
    cli_control_close(&control);
    return code;
}
