#include "smtp/command.h"

#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first octet chooses what is offered. A line that is taken holds no octet which could end a line. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_offer offer;
    struct smtp_command c;
    struct str line;

    if (size == 0)
        return 0;
    offer = (struct smtp_offer){data[0] & 1, data[0] & 2, data[0] & 4, data[0] & 8};
    line = str_make((const char *)data + 1, size - 1);
    smtp_command_parse(line, &offer, &c);
    if ((c.reply_code != 0) != (c.reply_text != NULL))
        bug("a code without a text");
    if (c.verb == SMTP_UNKNOWN && c.reply_code == 0)
        bug("an unknown command without an answer");
    if (c.reply_code == 0 && c.verb != SMTP_FOREIGN &&
        (str_has(line, '\r') || str_has(line, '\n') || str_has(line, '\0')))
        bug("a line end within a command");
    return 0;
}
