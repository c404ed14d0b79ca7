#include "auth/spf_record.h"
#include "base/bug.h"

/* A record that was read whole has no error in its terms, and every view lies within it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str txt = {(const char *)data, size}, bad, terms;
    struct spf_record record;
    struct spf_term term;
    enum spf_next next;
    const char *why;
    size_t total = 0;

    if (!spf_record_parse(txt, &record, &bad, &why)) {
        if (bad.n > 0 && (bad.p < txt.p || bad.p + bad.n > txt.p + txt.n))
            bug("the bad term lies outside of the record");
        return 0;
    }
    for (terms = record.terms; (next = spf_term_next(&terms, &term, &why)) == SPF_NEXT_TERM;) {
        if (term.bits4 > 32 || term.net.bits > (term.kind == SPF_TERM_IP6 ? 128 : 32))
            bug("a prefix of %d bits", term.net.bits);
        total += term.text.n + 1;
    }
    if (next != SPF_NEXT_END || total + 6 > size)
        bug("a checked record has an error");
    return 0;
}
