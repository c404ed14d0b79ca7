/* Any text as a DMARC record. */
#include "auth/dmarc.h"
#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *mem = arena_new(0);
    const char *why = NULL;
    const struct dmarc_record *r = dmarc_record_parse(mem, str_make((const char *)data, size), &why);

    if (why == NULL || (r == NULL) != (*why != '\0'))
        bug("a record without a reason, or a reason without need");
    if (r != NULL && (size > 8 * 1024 || r->rua_count > 32 || r->ruf_count > 32))
        bug("a record over its limits");
    arena_free(&mem);
    return 0;
}
