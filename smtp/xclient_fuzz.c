#include "smtp/xclient.h"

#include "base/bug.h"
#include "smtp/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *known(struct arena *mem, const struct smtp_xclient *x, unsigned bit, struct str text)
{
    return (x->given & bit) != 0 && (x->unavailable & bit) == 0 ? str_dup(mem, text) : NULL;
}

/* What is told on after it was heard is the same again, and never more than one line. */
static void tell_on(struct arena *mem, const struct smtp_xclient *x)
{
    struct smtp_identity who = {.name = known(mem, x, SMTP_XCLIENT_NAME, x->name),
                                .addr = ip_text(mem, &x->addr),
                                .port = x->port,
                                .helo = known(mem, x, SMTP_XCLIENT_HELO, x->helo),
                                .esmtp = x->esmtp,
                                .login = known(mem, x, SMTP_XCLIENT_LOGIN, x->login)};
    unsigned told = SMTP_XCLIENT_NAME | SMTP_XCLIENT_HELO | SMTP_XCLIENT_LOGIN | SMTP_XCLIENT_PORT;
    struct smtp_xclient again;
    struct buf out;
    const char *why;

    buf_init(&out, 1 << 16);
    smtp_xclient_write(&who, told, &out);
    if (str_has(buf_str(&out), '\n') || !smtp_xclient_parse(mem, buf_str(&out), &again, &why))
        bug("what is told is not understood");
    if ((again.unavailable & SMTP_XCLIENT_NAME) == 0 && !str_eq(again.name, x->name))
        bug("another name");
    if ((again.unavailable & SMTP_XCLIENT_HELO) == 0 && !str_eq(again.helo, x->helo))
        bug("another HELO");
    buf_clear(&out);
    smtp_xforward_write(&who, ~0u, &out);
    for (struct str rest = buf_str(&out), line; rest.n > 0;) {
        str_cut(rest, '\n', &line, &rest);
        if (line.n + 1 > 512 || !str_starts(line, STR("XFORWARD ")))
            bug("a line that is no command");
    }
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *mem = arena_new(0);
    struct smtp_xclient x;
    const char *why;

    if (smtp_xclient_parse(mem, str_make((const char *)data, size), &x, &why)) {
        if (x.given == 0 || (x.unavailable & ~x.given) != 0)
            bug("an attribute that was not given");
        tell_on(mem, &x);
    } else if (!str_starts(str_of(why), STR("5.5.4 "))) {
        bug("a fault without a sentence");
    }
    arena_free(&mem);
    return 0;
}
