#include "cli/control.h"

#include <stdio.h>

/* What was wrong goes to standard error as check-config has it, with --json too. */
static int tell(const struct cli_control *control, struct str text, const struct yaml_node *answer)
{
    const struct yaml_node *faults = yaml_get(answer, STR("faults"));
    bool reloaded = cli_control_is(answer, "reloaded");

    if (control->json)
        printf("%.*s\n", STR_ARG(text));
    else if (reloaded)
        printf("%s is in force\n", cli_control_text(answer, "file"));
    for (const struct yaml_node *fault = faults != NULL ? faults->first : NULL; fault != NULL;
         fault = fault->next)
        fprintf(stderr, "%s\n", fault->text.p);
    return reloaded ? CLI_FINE : CLI_SETTINGS;
}

int cli_reload(int argc, char **argv)
{
    return cli_control_run("reload", tell, argc, argv);
}
