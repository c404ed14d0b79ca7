#include "grey/normalize.h"

#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str address = {(const char *)data, size};
    struct arena *mem = arena_new(0);
    struct str sender = normalize_sender(mem, address), recipient = normalize_recipient(mem, address);

    if (sender.n > size || recipient.n > size || str_has(sender, '\0') || str_has(recipient, '\0'))
        bug("a form that is longer than the address, or holds a NUL");
    if (!str_eq(normalize_recipient(mem, recipient), recipient) && !str_has(recipient, '<'))
        bug("a recipient's form that changes again");
    arena_free(&mem);
    return 0;
}
