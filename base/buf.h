/*
 * base/buf.h - a growing run of bytes that knows its maximum
 *
 * Ownership  The buffer owns its bytes (malloc); buf_fini() frees them. Views of its content
 *            are good until the next call that adds or consumes.
 * Limits     `max` is given at birth and never passed. What does not fit is left out whole and
 *            `overflow` is set: callers look at it once, at the end.
 * Secrets    With `secret` set, octets that are consumed, cleared, moved or freed are wiped.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/str.h"

#include <stdarg.h>

struct buf {
    char *p;     /* the first byte that is in use */
    size_t n;    /* bytes in use */
    size_t room; /* bytes allocated behind p */
    size_t gone; /* bytes consumed in front of p, still allocated */
    size_t max;
    bool overflow;
    bool secret;
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);  /* fine on a zeroed struct; leaves it empty with its max */
void buf_clear(struct buf *b); /* empty again, keeps its memory, forgets overflow */

bool buf_add(struct buf *b, const void *bytes, size_t n); /* false: it did not fit */
bool buf_add_str(struct buf *b, struct str s);
bool buf_add_z(struct buf *b, const char *text);
bool buf_add_char(struct buf *b, char c);
bool buf_fmt(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool buf_vfmt(struct buf *b, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

/* Room for n bytes behind the content, or NULL beyond max; buf_commit() makes them content. */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);

void buf_consume(struct buf *b, size_t n); /* drops n bytes from the front */
const char *buf_z(struct buf *b);          /* the content with a NUL behind it (not counted) */

static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->p, b->n};
}

#endif
