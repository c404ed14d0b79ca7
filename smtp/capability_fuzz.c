#include "smtp/capability.h"

#include "base/bug.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The list of mechanisms ends within its room, and holds each that was understood once. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_capabilities c;
    struct str rest, word;

    memset(&c, 0xFF, sizeof(c));
    smtp_capabilities_parse(str_make((const char *)data, size), &c);
    if (memchr(c.auth, '\0', sizeof(c.auth)) == NULL)
        bug("a list without an end");
    for (rest = str_of(c.auth); rest.n > 0;) {
        bool more = str_cut(rest, ' ', &word, &rest);
        struct str others = rest, other;

        if (!smtp_is_mechanism(word) || (more && rest.n == 0))
            bug("a mechanism that is none");
        while (others.n > 0) {
            str_cut(others, ' ', &other, &others);
            if (str_same(other, word))
                bug("a mechanism twice");
        }
    }
    if (!c.esmtp || (c.size_max > 0 && !c.size) || (c.xclient_fields & ~(unsigned)SMTP_XCLIENT_ALL) != 0 ||
        (c.xforward_fields & ~(unsigned)SMTP_XFORWARD_ALL) != 0 || c.rcpt_max > 999999 || c.mail_max > 999999)
        bug("a value beyond its limits");
    return 0;
}
