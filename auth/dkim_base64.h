/*
 * auth/dkim_base64.h - base64 as DKIM writes it                     RFC 6376 2.10, RFC 4648 4
 *
 * Strict: complete padding, no stray bits behind the last octet, nothing but the alphabet and folding white
 * space, which may stand anywhere. (OpenSSL's own decoder forgives much and limits lines.)
 */
#ifndef AUTH_DKIM_BASE64_H
#define AUTH_DKIM_BASE64_H

#include "base/str.h"

/* The octets that `n` characters can stand for at the most: room for the output. */
#define DKIM_BASE64_ROOM(n) ((n) / 4 * 3)

/* False when it is not base64. Writes DKIM_BASE64_ROOM(text.n) octets at the most. */
bool dkim_base64_decode(struct str text, uint8_t *octets_out, size_t *n_out);

/* On one line, with padding. */
const char *dkim_base64_encode(struct arena *mem, const uint8_t *octets, size_t n);

#endif
