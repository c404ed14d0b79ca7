/*
 * cli/control.h - verbs that ask the daemon by its control socket (admin/control.h)
 */
#ifndef CLI_CONTROL_H
#define CLI_CONTROL_H

#include "cli/cli.h"
#include "config/yaml.h"

struct cli_control {
    const char *verb;
    const char *socket; /* its path */
    bool json, once;
    struct arena *mem;
};

/* --json, -c FILE and --socket PATH, which makes the settings needless; --once where a verb takes it. CLI_FINE, or another
 * code and the complaint is made. cli_control_close() must follow. */
int cli_control_open(struct cli_control *control, const char *verb, bool takes_once, int argc, char **argv);
void cli_control_close(struct cli_control *control);

/* Puts one order and waits for the answer: its text, without line end, and the same read (JSON is YAML), both in mem.
 * CLI_FINE, CLI_UNREACHABLE, or CLI_NO when the daemon refuses to answer; these two are told. */
int cli_control_ask(struct cli_control *control, const char *order, struct str *text_out,
                    const struct yaml_node **answer_out);

/* All of a verb that puts the order of its own name; `tell` prints the answer, and has the exit code. */
typedef int cli_control_tell_fn(const struct cli_control *control, struct str text,
                                const struct yaml_node *answer);
int cli_control_run(const char *verb, cli_control_tell_fn *tell, int argc, char **argv);

/* A member of the answer, by keys with dots between them ("store.shared"); "" when it is not there. */
const char *cli_control_text(const struct yaml_node *answer, const char *path);
bool cli_control_is(const struct yaml_node *answer, const char *path); /* true */

#endif
