#include "auth/dkim_base64.h"

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (ascii_is_digit(c))
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool is_fws(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool dkim_base64_decode(struct str text, uint8_t *octets_out, size_t *n_out)
{
    uint32_t bits = 0;
    size_t digits = 0, padding = 0, n = 0;

    for (size_t i = 0; i < text.n; i++) {
        int digit = digit_of(text.p[i]);

        if (is_fws(text.p[i]))
            continue;
        if (text.p[i] == '=') {
            padding++;
            continue;
        }
        if (digit < 0 || padding > 0)
            return false;
        bits = (bits << 6 | (uint32_t)digit) & 0xffffff;
        if (++digits % 4 == 0) {
            octets_out[n++] = (uint8_t)(bits >> 16);
            octets_out[n++] = (uint8_t)(bits >> 8);
            octets_out[n++] = (uint8_t)bits;
        }
    }
    if (padding > 2 || (digits + padding) % 4 != 0)
        return false;
    if (padding == 1 && (bits & 0x3) != 0)
        return false;
    if (padding == 2 && (bits & 0xf) != 0)
        return false;
    if (padding == 1) {
        octets_out[n++] = (uint8_t)(bits >> 10);
        octets_out[n++] = (uint8_t)(bits >> 2);
    } else if (padding == 2) {
        octets_out[n++] = (uint8_t)(bits >> 4);
    }
    *n_out = n;
    return true;
}

const char *dkim_base64_encode(struct arena *mem, const uint8_t *octets, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = arena_alloc(mem, (n + 2) / 3 * 4 + 1), *p = text;

    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t bits = (uint32_t)octets[i] << 16 | (left > 1 ? (uint32_t)octets[i + 1] << 8 : 0) |
                        (left > 2 ? octets[i + 2] : 0);

        *p++ = digits[bits >> 18];
        *p++ = digits[bits >> 12 & 63];
        *p++ = left > 1 ? digits[bits >> 6 & 63] : '=';
        *p++ = left > 2 ? digits[bits & 63] : '=';
    }
    return text;
}
