#include "smtp/address.h"

#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The views of an address lie in the text, and what the parser takes it takes again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make((const char *)data, size), rest;
    struct smtp_address a, again;
    const char *why;

    if (size == 0)
        return 0;
    for (int i = 0; i < 4; i++) {
        if (!smtp_path_parse(text, i & 1 ? SMTP_PATH_FORWARD : SMTP_PATH_REVERSE, i & 2, &a, &rest, &why)) {
            if (why == NULL)
                bug("refused without a reason");
            continue;
        }
        if (a.text.n > size || rest.n > size || a.local.n + a.domain.n > a.text.n)
            bug("views beyond the text");
        if (a.kind != SMTP_DOMAIN_NONE &&
            (!smtp_mailbox_parse(a.text, i & 2, &again) || !smtp_address_same(&a, &again)))
            bug("not the same mailbox again");
    }
    return 0;
}
