/* Any octets as the value of a field from outside, and as every value of the field that we write. */
#include "auth/authres.h"
#include "base/bug.h"

#include <stdlib.h>
#include <string.h>

static void check_claims(struct str text)
{
    char *own = malloc(text.n + 40);
    static const char head[] = " (x) mx1.example.net; ";

    authres_claims(text, "mx1.example.net");
    memcpy(own, head, sizeof(head) - 1);
    memcpy(own + sizeof(head) - 1, text.p, text.n);
    if (!authres_claims(str_make(own, sizeof(head) - 1 + text.n), "mx1.example.net"))
        bug("a field with our name is not claimed");
    free(own);
}

/* Printable ASCII, and lines that go on with a tab. */
static void check_lines(struct str field)
{
    for (size_t i = 0; i < field.n; i++) {
        char c = field.p[i];

        if (c == '\r' && i + 1 < field.n && field.p[i + 1] == '\n' &&
            (i + 2 == field.n || field.p[i + 2] == '\t'))
            i += 2;
        else if (c < ' ' || c > '~')
            bug("an octet %d in the field", c);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *mem = arena_new(0);
    struct str text = str_make((const char *)data, size);
    const char *z = str_dup(mem, text);
    struct spf_answer spf = {.result = SPF_FAIL, .scope = SPF_MFROM, .domain = z, .reason = z};
    struct dkim_signature signature = {DKIM_FAIL, z, z, z, z, 0, false, false, text, z};
    struct dkim_answer dkim = {1, &signature};
    struct dmarc_evaluation dmarc = {.result = DMARC_FAIL};
    struct arc_answer arc = {.result = ARC_FAIL, .sealer = z, .reason = z};
    struct authres all = {.authserv_id = z,
                          .spf = &spf,
                          .mail_from = z,
                          .helo = z,
                          .dkim = &dkim,
                          .arc = &arc,
                          .dmarc = &dmarc,
                          .from_domain = z,
                          .iprev = "pass",
                          .client_ip = z};
    struct buf out;

    check_claims(text);
    buf_init(&out, 128 * 1024);
    authres_write(&out, &all);
    check_lines(buf_str(&out));
    buf_fini(&out);
    arena_free(&mem);
    return 0;
}
