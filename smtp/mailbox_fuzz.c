#include "smtp/mailbox.h"

#include "smtp/address.h"

#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whom a strict reader finds, nobody else mistakes. */
static void compare(const struct mailbox_list *list, const char *only)
{
    for (size_t i = 0; only != NULL && i < list->count; i++)
        if (!str_eq_z(list->boxes[i].domain, only))
            bug("the only domain is %s, but %.*s was found", only, STR_ARG(list->boxes[i].domain));
}

/* A domain that comes out is a domain name or a literal, and comes out of itself again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *mem = arena_new(0);
    struct mailbox_list list;
    const char *why;
    enum mailbox_status status = mailbox_list_parse(mem, str_make((const char *)data, size), &list, &why);

    if ((status == MAILBOX_INVALID) != (why != NULL) || (status == MAILBOX_FOUND) != (list.count > 0))
        bug("status, reason and count disagree");
    for (size_t i = 0; i < list.count; i++) {
        struct str domain = list.boxes[i].domain;

        if (domain.n > 0 && domain.p[0] == '[')
            continue;
        if (!smtp_is_domain(domain) || !str_eq_z(domain, mailbox_domain_to_ascii(mem, domain)))
            bug("a domain that is none: %.*s", STR_ARG(domain));
    }
    compare(&list, mailbox_only_domain(mem, str_make((const char *)data, size)));
    arena_free(&mem);
    return 0;
}
