#include "cli/control.h"

#include <stdio.h>

static int tell(const struct cli_control *control, struct str text, const struct yaml_node *answer)
{
    if (control->json)
        printf("%.*s\n", STR_ARG(text));
    else
        printf("it drains: no new sessions; those in a transaction have %s s\n",
               cli_control_text(answer, "most_s"));
    return CLI_FINE;
}

int cli_drain(int argc, char **argv)
{
    return cli_control_run("drain", tell, argc, argv);
}
