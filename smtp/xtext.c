#include "smtp/xtext.h"

static int upper_hex(char c)
{
    return c >= 'a' && c <= 'f' ? -1 : ascii_hex(c);
}

static bool stands_for_itself(char c)
{
    return c > ' ' && c <= '~' && c != '+' && c != '=';
}

/* The octet that the text begins with, and how many characters it takes; 0: that is no xtext. */
static size_t next_octet(struct str text, char *octet_out)
{
    int high, low;

    *octet_out = text.p[0];
    if (text.p[0] != '+')
        return stands_for_itself(text.p[0]);
    if (text.n < 3)
        return 0;
    high = upper_hex(text.p[1]);
    low = upper_hex(text.p[2]);
    if (high < 0 || low < 0)
        return 0;
    *octet_out = (char)(high << 4 | low);
    return 3;
}

/* False: no xtext. */
static bool count_octets(struct str text, size_t *octets_out)
{
    *octets_out = 0;
    while (text.n > 0) {
        char octet;
        size_t n = next_octet(text, &octet);

        if (n == 0)
            return false;
        text = str_from(text, n);
        ++*octets_out;
    }
    return true;
}

bool smtp_is_xtext(struct str text)
{
    size_t octets;

    return count_octets(text, &octets);
}

bool smtp_xtext_encode(struct buf *out, struct str plain)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    char *to;

    for (size_t i = 0; i < plain.n; i++)
        n += stands_for_itself(plain.p[i]) ? 1 : 3;
    to = buf_reserve(out, n);
    if (to == NULL)
        return false;
    for (size_t i = 0; i < plain.n; i++) {
        unsigned char c = (unsigned char)plain.p[i];

        if (stands_for_itself(plain.p[i])) {
            *to++ = plain.p[i];
            continue;
        }
        *to++ = '+';
        *to++ = digits[c >> 4];
        *to++ = digits[c & 15];
    }
    buf_commit(out, n);
    return true;
}

bool smtp_xtext_decode(struct buf *out, struct str text)
{
    size_t octets;
    char *to;

    if (!count_octets(text, &octets))
        return false;
    to = buf_reserve(out, octets);
    if (to == NULL)
        return false;
    for (size_t i = 0; i < octets; i++)
        text = str_from(text, next_octet(text, to + i));
    buf_commit(out, octets);
    return true;
}
