#include "grey/pattern.h"

#include <stdint.h>

/* A pattern, a line end, a text: whatever they are, reading ends, and so does matching. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *mem = arena_new(0);
    const struct grey_pattern *pattern;
    struct str text, subject;
    struct fail fail;

    str_cut(str_make((const char *)data, size), '\n', &text, &subject);
    pattern = grey_pattern_parse(mem, text, &fail);
    if (pattern != NULL)
        grey_pattern_matches(pattern, str_upto(subject, 4096));
    arena_free(&mem);
    return 0;
}
