/*
 * base/utf8.h - one character of UTF-8 (RFC 3629 4)
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdint.h>

#include "base/str.h"

/* Length of the well-formed character at the start of s, which is not empty; 0 when there is none. Overlong forms,
 * surrogates and what is beyond U+10FFFF are not well-formed. */
size_t utf8_length(struct str s);

/* The character of that length, which is not 0, as its number in Unicode. */
uint32_t utf8_code(struct str s, size_t length);

/* Whether a terminal shows it and does nothing more: no control character (U+009B begins an escape sequence as ESC
 * does), no line end, none that turns the direction of the text behind it. */
bool utf8_is_harmless(uint32_t code);

#endif
