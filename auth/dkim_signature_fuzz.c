/* A tag list that is accepted is accepted again when written from its tags; a field that is accepted keeps
 * its word. */
#include "auth/dkim_signature.h"
#include "base/buf.h"
#include "base/bug.h"

#include <string.h>

static void try_tags(struct str text)
{
    struct dkim_tags tags, again;
    struct buf out;

    if (dkim_tags_parse(text, &tags) != NULL)
        return;
    buf_init(&out, 1 << 22);
    for (size_t i = 0; i < tags.count; i++) {
        buf_add_str(&out, tags.tags[i].name);
        buf_add_z(&out, "=");
        buf_add_str(&out, tags.tags[i].value);
        buf_add_z(&out, ";");
    }
    if (dkim_tags_parse(buf_str(&out), &again) != NULL || again.count != tags.count)
        bug("the list changed");
    for (size_t i = 0; i < tags.count; i++)
        if (!str_eq(tags.tags[i].value, again.tags[i].value))
            bug("tag %zu changed", i);
    buf_fini(&out);
}

static void must_be_printable(const char *text)
{
    for (; *text != '\0'; text++)
        if ((uint8_t)*text < ' ' || *text == 0x7f)
            bug("a control character came through");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *mem = arena_new(0);
    struct str text = {(const char *)data, size};
    struct dkim_field field;

    try_tags(text);
    if (dkim_field_parse(mem, text, &field) == NULL && (*field.domain == '\0' || field.b_whole.p < text.p ||
                                                        field.b_whole.p + field.b_whole.n > text.p + text.n))
        bug("a field without what it needs");
    must_be_printable(field.domain);
    must_be_printable(field.selector);
    must_be_printable(field.identity);
    must_be_printable(field.algorithm_name);
    arena_free(&mem);
    return 0;
}
