#include "store/resp.h"

#include <stdint.h>

/* The first octet says how much comes at a time. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct resp_reader *reader = resp_reader_new();
    size_t piece = size > 0 ? (size_t)data[0] + 1 : 1;
    const struct resp *reply;
    struct fail fail = {0};
    int outcome = 0;

    for (size_t at = 1; at < size && outcome >= 0; at += piece) {
        outcome = resp_feed(reader, (const char *)data + at, size - at < piece ? size - at : piece, &fail);
        while (outcome >= 0 && (outcome = resp_next(reader, &reply, &fail)) > 0)
            for (size_t i = 0; i < reply->count; i++)
                if (reply->type != RESP_ARRAY || reply->items[i].type > RESP_ARRAY)
                    __builtin_trap();
    }
    if (outcome < 0 && fail.text[0] == '\0')
        __builtin_trap(); /* what cannot be read must say why */
    resp_reader_free(&reader);
    return 0;
}
