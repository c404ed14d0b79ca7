#include "base/bug.h"
#include "dns/message.h"

#include <string.h>

/* The first octet chooses the type, the rest is the packet. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = {DNS_A,   DNS_NS, DNS_CNAME, DNS_SOA,
                                          DNS_PTR, DNS_MX, DNS_TXT,   DNS_AAAA};
    struct dns_question question;
    struct dns_answer answer;
    struct arena *mem;

    if (size == 0 || !dns_question_init(&question, types[data[0] % COUNT(types)], "a.test"))
        return 0;
    mem = arena_new(0);
    dns_message_parse(mem, &question, data + 1, size - 1, &answer);
    if ((answer.status == DNS_OK) != (answer.count > 0) || answer.count > size / 11)
        bug("status %d with %zu records", (int)answer.status, answer.count);
    for (size_t i = 0; i < answer.count; i++)
        if (answer.records[i].name != NULL && strlen(answer.records[i].name) > 4 * DNS_NAME_MAX)
            bug("a name too long");
    arena_free(&mem);
    return 0;
}
