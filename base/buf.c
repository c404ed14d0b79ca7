#include "base/buf.h"

#include "base/bug.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 128 };

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

/* Of the octets behind the first n nothing must be left. */
static void wipe_behind(struct buf *b, size_t n)
{
    if (b->secret && b->room > n)
        explicit_bzero(b->p + n, b->room - n);
}

void buf_fini(struct buf *b)
{
    struct buf empty = {.max = b->max, .secret = b->secret};

    if (b->p != NULL) {
        wipe_behind(b, 0); /* what is in front was wiped when it was consumed */
        free(b->p - b->gone);
    }
    *b = empty;
}

void buf_clear(struct buf *b)
{
    buf_consume(b, b->n);
    b->overflow = false;
}

static void move_to_front(struct buf *b)
{
    if (b->gone == 0)
        return;
    memmove(b->p - b->gone, b->p, b->n);
    b->p -= b->gone;
    b->room += b->gone;
    b->gone = 0;
    wipe_behind(b, b->n);
}

/* realloc() may leave a copy of what it moves. */
static char *grow(struct buf *b, size_t room)
{
    char *p;

    if (!b->secret)
        return realloc(b->p, room);
    p = malloc(room);
    if (p == NULL || b->p == NULL)
        return p;
    memcpy(p, b->p, b->n);
    wipe_behind(b, 0);
    free(b->p);
    return p;
}

/* One byte more than asked is kept free, for buf_z(). */
static bool make_room(struct buf *b, size_t n)
{
    size_t room;
    char *p;

    if (n > b->max || b->n > b->max - n) {
        b->overflow = true;
        return false;
    }
    if (b->n + n < b->room)
        return true;
    move_to_front(b);
    if (b->n + n < b->room)
        return true;
    room = b->room > 0 ? b->room : FIRST_ROOM;
    while (room <= b->n + n)
        room *= 2;
    p = grow(b, room);
    if (p == NULL)
        out_of_memory();
    b->p = p;
    b->room = room;
    return true;
}

char *buf_reserve(struct buf *b, size_t n)
{
    return make_room(b, n) ? b->p + b->n : NULL;
}

void buf_commit(struct buf *b, size_t n)
{
    if (b->n + n >= b->room && n > 0)
        bug("buf_commit of %zu bytes beyond the room", n);
    b->n += n;
}

bool buf_add(struct buf *b, const void *bytes, size_t n)
{
    if (n == 0)
        return true;
    if (!make_room(b, n))
        return false;
    memcpy(b->p + b->n, bytes, n);
    b->n += n;
    return true;
}

bool buf_add_str(struct buf *b, struct str s)
{
    return buf_add(b, s.p, s.n);
}

bool buf_add_z(struct buf *b, const char *text)
{
    return buf_add(b, text, strlen(text));
}

bool buf_add_char(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}

bool buf_vfmt(struct buf *b, const char *format, va_list args)
{
    va_list again;
    int n;

    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (n < 0)
        bug("buf_fmt: bad format \"%s\"", format);
    if (!make_room(b, (size_t)n))
        return false;
    vsnprintf(b->p + b->n, (size_t)n + 1, format, args);
    b->n += (size_t)n;
    return true;
}

bool buf_fmt(struct buf *b, const char *format, ...)
{
    va_list args;
    bool fits;

    va_start(args, format);
    fits = buf_vfmt(b, format, args);
    va_end(args);
    return fits;
}

void buf_consume(struct buf *b, size_t n)
{
    if (n > b->n)
        bug("buf_consume of %zu bytes out of %zu", n, b->n);
    b->n -= n;
    if (b->p == NULL)
        return;
    if (b->secret)
        explicit_bzero(b->p, n);
    b->p += n;
    b->gone += n;
    b->room -= n;
    if (b->n == 0)
        move_to_front(b);
}

const char *buf_z(struct buf *b)
{
    if (b->room <= b->n && !make_room(b, 0))
        bug("buf_z: no room");
    if (b->p == NULL)
        return "";
    b->p[b->n] = '\0';
    return b->p;
}
