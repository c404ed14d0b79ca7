#include "smtp/xtext.h"

#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is encoded is xtext and comes back; what is xtext decodes, and means the same when encoded again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_make((const char *)data, size);
    struct buf text, plain;

    buf_init(&text, 3 * size + 1);
    buf_init(&plain, 3 * size + 1);
    if (!smtp_xtext_encode(&text, in) || !smtp_is_xtext(buf_str(&text)) ||
        !smtp_xtext_decode(&plain, buf_str(&text)) || !str_eq(buf_str(&plain), in))
        bug("an octet did not survive");
    buf_clear(&plain);
    if (smtp_xtext_decode(&plain, in) != smtp_is_xtext(in))
        bug("two opinions on what xtext is");
    if (plain.n > 0) {
        buf_clear(&text);
        smtp_xtext_encode(&text, buf_str(&plain));
        if (text.n > size || !smtp_is_xtext(buf_str(&text)))
            bug("encoding again made it longer");
    }
    buf_fini(&text);
    buf_fini(&plain);
    return 0;
}
