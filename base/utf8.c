#include "base/utf8.h"

size_t utf8_length(struct str s)
{
    const unsigned char *b = (const unsigned char *)s.p;
    size_t n = b[0] < 0x80                   ? 1
               : b[0] >= 0xc2 && b[0] < 0xe0 ? 2
               : (b[0] & 0xf0) == 0xe0       ? 3
               : b[0] >= 0xf0 && b[0] < 0xf5 ? 4
                                             : 0;

    if (n == 0 || n > s.n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((b[i] & 0xc0) != 0x80)
            return 0;
    if ((b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xed && b[1] >= 0xa0) || (b[0] == 0xf0 && b[1] < 0x90) ||
        (b[0] == 0xf4 && b[1] >= 0x90))
        return 0;
    return n;
}

uint32_t utf8_code(struct str s, size_t length)
{
    const unsigned char *b = (const unsigned char *)s.p;
    uint32_t code = length == 1 ? b[0] : b[0] & (0x7fu >> length);

    for (size_t i = 1; i < length; i++)
        code = code << 6 | (b[i] & 0x3f);
    return code;
}

bool utf8_is_harmless(uint32_t code)
{
    static const struct {
        uint32_t first, last;
    } harmful[] = {{0, 0x1f},        {0x7f, 0x9f},     {0x61c, 0x61c},
                   {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069}};

    for (size_t i = 0; i < sizeof(harmful) / sizeof(*harmful); i++)
        if (code >= harmful[i].first && code <= harmful[i].last)
            return false;
    return true;
}
