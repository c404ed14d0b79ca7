#include "auth/dmarc.h"
#include "smtp/mailbox.h"

/* One domain or none: whoever takes the first of two can be fooled about which one the reader sees
 * (RFC 9989 5.3.1, 11.5). */
const char *dmarc_from_domain(struct arena *mem, const struct header *header, const char **why_out)
{
    size_t fields = header_count(header, "From");
    struct mailbox_list list;
    const char *why = "", *only;
    struct str value;

    if (fields != 1) {
        *why_out = fields == 0 ? "there is no From field" : "there are several From fields";
        return NULL;
    }
    value = header_find(header, "From")->value;
    switch (mailbox_list_parse(mem, value, &list, &why)) {
    case MAILBOX_FOUND:
        break;
    case MAILBOX_EMPTY:
        *why_out = "the From field holds no address";
        return NULL;
    default:
        only = mailbox_only_domain(mem, value);
        *why_out = only != NULL ? "" : str_fmt(mem, "the From field is not valid: %s", why);
        return only;
    }
    for (size_t i = 1; i < list.count; i++) {
        if (!str_same(list.boxes[i].domain, list.boxes[0].domain)) {
            *why_out = "the From field holds addresses of several domains";
            return NULL;
        }
    }
    if (list.boxes[0].domain.p[0] == '[') {
        *why_out = "the From field has an address literal in place of a domain";
        return NULL;
    }
    *why_out = "";
    return str_dup_lower(mem, list.boxes[0].domain);
}
