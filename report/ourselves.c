#include "report/ourselves.h"

#include "smtp/address.h"

bool ourselves_is_our_address(struct str address, const struct report_identity *us)
{
    struct str local, domain, our_local, our_domain, tag;

    str_cut(address, '@', &local, &domain);
    str_cut(str_of(us->email), '@', &our_local, &our_domain);
    str_cut(local, '+', &local, &tag);
    return str_same(domain, our_domain) && str_same(local, our_local);
}

static bool begins(struct arena *mem, const struct header *header, const char *name, struct str what)
{
    const struct header_field *field = header_find(header, name);

    return field != NULL && str_starts_same(header_unfold(mem, field->value), what);
}

bool ourselves_is_automatic(struct arena *mem, const struct header *header)
{
    const struct header_field *field = header_find(header, "Auto-Submitted");

    return field != NULL && !str_starts_same(str_trim(header_unfold(mem, field->value)), STR("no"));
}

/* "Report Domain: example.org Submitter: …" (RFC 9990 3.3), "multipart/report" (RFC 6522). */
bool ourselves_is_report_mail(struct arena *mem, const struct header *header, const char *header_from,
                              struct str recipient, const struct report_identity *us)
{
    if (us->email[0] != '\0' && ourselves_is_our_address(recipient, us))
        return true;
    if (us->submitter[0] != '\0' && header_from != NULL && str_same_z(str_of(header_from), us->submitter))
        return true;
    return begins(mem, header, "Subject", STR("Report Domain:")) ||
           begins(mem, header, "Content-Type", STR("multipart/report"));
}
