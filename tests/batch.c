#include "tests/batch.h"

#include "base/bug.h"

#include <jansson.h>
#include <stdio.h>

enum { LINE_MAX_BYTES = 1024 * 1024 };

void batch_run(batch_fn *run)
{
    static char line[LINE_MAX_BYTES];

    while (fgets(line, sizeof(line), stdin) != NULL) {
        json_error_t error;
        json_t *test = json_loads(line, JSON_ALLOW_NUL, &error);

        if (test == NULL)
            bug("not JSON: %s", error.text);
        run(test);
        json_decref(test);
    }
}
