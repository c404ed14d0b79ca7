/*
 * base/str.h - views of bytes, and the small text arithmetic that everybody needs
 *
 * A `struct str` borrows bytes it does not own and does not end with NUL; a NUL inside is an
 * ordinary byte. Case folding is ASCII only, whatever the locale (a Unicode "ſ" is not an "s").
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_ARG(s)   (int)(s).n, (s).p /* for "%.*s" */

static inline struct str str_make(const char *p, size_t n)
{
    return (struct str){p, n};
}

struct str str_of(const char *text); /* of a C string; NULL gives the empty view */

static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}
static inline bool ascii_is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static inline bool ascii_is_alnum(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c);
}
int ascii_hex(char c); /* 0 to 15, or -1 */

bool str_eq(struct str a, struct str b);
bool str_same(struct str a, struct str b); /* without regard to ASCII case */
bool str_eq_z(struct str a, const char *text);
bool str_same_z(struct str a, const char *text);
bool str_starts(struct str s, struct str prefix);
bool str_starts_same(struct str s, struct str prefix); /* without regard to case */
bool str_ends_same(struct str s, struct str suffix);
bool str_has(struct str s, char c);

/* Position of the first `c`, or s.n. */
size_t str_find(struct str s, char c);
struct str str_from(struct str s, size_t start); /* s without its first `start` bytes */
struct str str_upto(struct str s, size_t n);     /* the first n bytes of s at the most */

/* Without blanks, tabs, CR and LF at both ends. */
struct str str_trim(struct str s);

/* Cuts at the first `separator`: the part before goes to head, the rest to tail. False when there is
 * no separator: then head is all of s and tail is empty. head and tail may be the same as &s's variable. */
bool str_cut(struct str s, char separator, struct str *head_out, struct str *tail_out);

/* Decimal digits only, all of s, no sign. False when empty, odd or larger than `most`. */
bool str_to_u64(struct str s, uint64_t most, uint64_t *value_out);

/* Bytes from hexadecimal digits, all of s, into `out` of `most` bytes. False when empty, odd, too long or other. */
bool str_unhex(struct str s, char *out, size_t most, struct str *bytes_out);

/* NUL-terminated copies in an arena. */
char *str_dup(struct arena *mem, struct str s);
char *str_dup_lower(struct arena *mem, struct str s);
char *str_fmt(struct arena *mem, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct str str_copy(struct arena *mem, struct str s);

#endif
