#include "smtp/header.h"

#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The raw fields, laid end to end, are the section: no octet is lost or read twice. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = str_make((const char *)data, size);
    struct arena *mem = arena_new(0);
    struct header header;
    size_t end = SIZE_MAX, used = 0;

    if (size > 0) {
        for (size_t seen = 0; seen < size && end == SIZE_MAX; seen += 7)
            end = header_end(str_upto(bytes, seen + 7), seen);
        if (end != header_end(bytes, 0))
            bug("the end depends on the pieces");
    }
    bytes = str_upto(bytes, end);
    if (header_parse(mem, bytes, 50, &header) == HEADER_OK) {
        for (size_t i = 0; i < header.count; i++) {
            if (header.fields[i].raw.p != bytes.p + used || header_count(&header, "x") > header.count)
                bug("fields do not follow each other");
            used += header.fields[i].raw.n;
            header_unfold(mem, header.fields[i].value);
        }
        if (used != bytes.n)
            bug("fields do not fill the section");
    }
    arena_free(&mem);
    return 0;
}
