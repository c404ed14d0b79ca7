#include "smtp/command.h"

#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is passed on has its bound, and is a good line again that says the same. */
static void check_pass_on(const struct smtp_command *c, const struct smtp_offer *offer)
{
    struct smtp_command again;
    struct buf line;

    buf_init(&line, 1000 + SMTP_PARAMETERS_MAX);
    buf_fmt(&line, "%s:<%.*s>", c->verb == SMTP_MAIL ? "MAIL FROM" : "RCPT TO", STR_ARG(c->address.text));
    line.max = line.n + SMTP_PARAMETERS_MAX;
    smtp_command_pass_on(c, offer, &line);
    smtp_command_parse(buf_str(&line), offer, &again);
    if (line.overflow || again.reply_code != 0 || again.requiretls != c->requiretls ||
        !str_eq(again.envid, c->envid) || !str_eq(again.ret, c->ret) || !str_eq(again.orcpt, c->orcpt) ||
        !str_eq(again.notify, c->notify) || (again.smtputf8 && !c->smtputf8))
        bug("what is passed on is not what was said");
    buf_fini(&line);
}

/* The first octet chooses what is offered. A line that is taken holds no octet which could end a line. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_offer offer;
    struct smtp_command c;
    struct str line;

    if (size == 0)
        return 0;
    offer = (struct smtp_offer){data[0] & 1,  data[0] & 2,  data[0] & 4,  data[0] & 8,
                                data[0] & 16, data[0] & 32, data[0] & 64, data[0] & 128};
    line = str_make((const char *)data + 1, size - 1);
    smtp_command_parse(line, &offer, &c);
    if ((c.reply_code != 0) != (c.reply_text != NULL))
        bug("a code without a text");
    if (c.verb == SMTP_UNKNOWN && c.reply_code == 0)
        bug("an unknown command without an answer");
    if (c.reply_code == 0 && c.verb != SMTP_FOREIGN &&
        (str_has(line, '\r') || str_has(line, '\n') || str_has(line, '\0')))
        bug("a line end within a command");
    if (c.reply_code == 0 && (c.verb == SMTP_MAIL || c.verb == SMTP_RCPT))
        check_pass_on(&c, &offer);
    return 0;
}
