/*
 * smtp/xtext.h - octets as printable words: "+XX" for what is none        RFC 3461 4
 *
 * Pure and total. The decoder is strict: hexadecimal digits in upper case only, no bare "+" and no "=".
 */
#ifndef SMTP_XTEXT_H
#define SMTP_XTEXT_H

#include "base/buf.h"

bool smtp_is_xtext(struct str text); /* the empty text is */

/* False: it did not fit, and nothing was added. */
bool smtp_xtext_encode(struct buf *out, struct str plain);

/* False: it is no xtext, or does not fit; then nothing was added. Any octet may come out, NUL too. */
bool smtp_xtext_decode(struct buf *out, struct str text);

#endif
