#include "auth/spf_macro.h"
#include "base/bug.h"
#include "dns/dns.h"

#include <string.h>

/* First line: the local part; second: the HELO name; the rest: a macro string. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spf_values values = {
        .client = {.family = size % 2 ? 6 : 4}, .domain = STR("d.example.org"), .now_unix = (int64_t)size};
    struct str text = {(const char *)data, size};
    struct arena *mem = arena_new(0);
    const char *name, *explanation;

    str_cut(text, '\n', &values.local, &text);
    str_cut(text, '\n', &values.helo, &text);
    values.sender = values.sender_domain = values.local;
    name = spf_macro_name(mem, text, &values);
    if (name != NULL && (*name == '\0' || strlen(name) > DNS_NAME_MAX || !spf_macro_check(text, SPF_IN_NAME)))
        bug("\"%s\" was made", name);
    explanation = spf_macro_explanation(mem, text, &values);
    if (explanation != NULL &&
        (strlen(explanation) > SPF_TEXT_MAX || !spf_macro_check(text, SPF_IN_EXPLANATION)))
        bug("\"%s\" was made", explanation);
    if (spf_macro_is_domain_spec(text) && !spf_macro_check(text, SPF_IN_NAME))
        bug("a domain-spec is no macro string");
    arena_free(&mem);
    return 0;
}
