#include "report/gzip.h"

#include "base/bug.h"

#include <stdlib.h>
#include <zlib.h>

enum {
    PIECE_BYTES = 16 * 1024,
    WINDOW_GZIP = 15 + 16,
    WINDOW_RAW = -15,
    MEMORY_LEVEL = 8,
    RATIO_FREE_BYTES = 64 * 1024
};
enum { OS_UNKNOWN = 255 };

/* ---- writing ---- */

struct gzip {
    z_stream z;
    gz_header header;
    struct buf *out;
};

struct gzip *gzip_new(struct buf *out)
{
    struct gzip *g = calloc(1, sizeof(*g));

    if (g == NULL)
        out_of_memory();
    g->out = out;
    g->header.os = OS_UNKNOWN;
    if (deflateInit2(&g->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_GZIP, MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        out_of_memory();
    deflateSetHeader(&g->z, &g->header);
    return g;
}

static void deflate_all(struct gzip *g, struct str piece, int flush)
{
    unsigned char bytes[PIECE_BYTES];

    g->z.next_in = (unsigned char *)piece.p;
    g->z.avail_in = (unsigned)piece.n;
    do {
        g->z.next_out = bytes;
        g->z.avail_out = sizeof(bytes);
        if (deflate(&g->z, flush) == Z_STREAM_ERROR)
            bug("deflate: stream error");
        buf_add(g->out, bytes, sizeof(bytes) - g->z.avail_out);
    } while (g->z.avail_out == 0);
}

void gzip_write(struct gzip *gzip, struct str piece)
{
    deflate_all(gzip, piece, Z_NO_FLUSH);
}

void gzip_end(struct gzip **gzip)
{
    deflate_all(*gzip, STR(""), Z_FINISH);
    deflateEnd(&(*gzip)->z);
    free(*gzip);
    *gzip = NULL;
}

/* ---- reading ---- */

static int too_big(const struct buf *out, size_t packed, size_t ratio_max, struct fail *fail)
{
    if (out->overflow)
        return fail_set(fail, "it unpacks to more than %zu bytes", out->max);
    return out->n > RATIO_FREE_BYTES && out->n / ratio_max > packed
               ? fail_set(fail, "it unpacks to more than %zu times its size", ratio_max)
               : 0;
}

static int inflate_all(z_stream *z, size_t packed, size_t ratio_max, struct buf *out, struct fail *fail)
{
    unsigned char bytes[PIECE_BYTES];
    int outcome;

    do {
        z->next_out = bytes;
        z->avail_out = sizeof(bytes);
        outcome = inflate(z, Z_NO_FLUSH);
        buf_add(out, bytes, sizeof(bytes) - z->avail_out);
        if (too_big(out, packed, ratio_max, fail) != 0)
            return -1;
    } while (outcome == Z_OK);
    if (outcome == Z_STREAM_END)
        return 0;
    return fail_set(fail, "it cannot be unpacked: %s",
                    outcome == Z_BUF_ERROR ? "it ends too early"
                    : z->msg != NULL       ? z->msg
                                           : "not deflated");
}

static int inflate_from(struct str packed, int window, size_t ratio_max, struct buf *out, struct fail *fail)
{
    z_stream z = {.next_in = (unsigned char *)packed.p, .avail_in = (unsigned)packed.n};
    int outcome;

    if (inflateInit2(&z, window) != Z_OK)
        out_of_memory();
    outcome = inflate_all(&z, packed.n, ratio_max, out, fail);
    inflateEnd(&z);
    return outcome;
}

/* ---- zip ---- */

enum { ZIP_HEADER = 30, ZIP_STORED = 0, ZIP_DEFLATED = 8, ZIP_ENCRYPTED = 1, ZIP_LENGTHS_BEHIND = 8 };

static size_t little(struct str s, size_t at, size_t octets)
{
    size_t value = 0;

    for (size_t i = octets; i-- > 0;)
        value = value << 8 | (unsigned char)s.p[at + i];
    return value;
}

struct member {
    size_t flags, method, packed;
    struct str name, data; /* data: up to the end of the file */
};

static bool take_member(struct str *zip, struct member *m)
{
    size_t name, data_at;

    if (zip->n < ZIP_HEADER || !str_starts(*zip, STR("PK\003\004")))
        return false;
    name = little(*zip, 26, 2);
    data_at = ZIP_HEADER + name + little(*zip, 28, 2);
    if (data_at > zip->n)
        return false;
    *m = (struct member){little(*zip, 6, 2), little(*zip, 8, 2), little(*zip, 18, 4),
                         str_upto(str_from(*zip, ZIP_HEADER), name), str_from(*zip, data_at)};
    *zip = m->flags & ZIP_LENGTHS_BEHIND ? STR("")
                                         : str_from(m->data, m->packed); /* nobody knows where the next is */
    return true;
}

/* The first that is called .xml; of others the first that is no folder. */
static bool find_member(struct str zip, struct member *found)
{
    struct member m;

    *found = (struct member){0};
    while (take_member(&zip, &m)) {
        bool is_xml = str_ends_same(m.name, STR(".xml"));

        if (is_xml || (found->name.n == 0 && m.name.n > 0 && m.name.p[m.name.n - 1] != '/'))
            *found = m;
        if (is_xml)
            break;
    }
    return found->name.n > 0;
}

static int unzip(struct str zip, struct buf *out, struct fail *fail)
{
    struct member m;
    bool is_streamed;

    if (!find_member(zip, &m))
        return fail_set(fail, "the zip file is damaged, or there is nothing in it");
    if (m.flags & ZIP_ENCRYPTED)
        return fail_set(fail, "the zip file is encrypted");
    is_streamed = m.flags & ZIP_LENGTHS_BEHIND;
    if (!is_streamed)
        m.data = str_upto(m.data, m.packed);
    if (m.method == ZIP_DEFLATED)
        return inflate_from(m.data, WINDOW_RAW, GZIP_RATIO_MAX, out, fail);
    if (m.method != ZIP_STORED || is_streamed || m.data.n != m.packed)
        return fail_set(fail, "the zip file's method %zu is not understood", m.method);
    return buf_add_str(out, m.data) ? 0 : fail_set(fail, "it has more than %zu bytes", out->max);
}

int gzip_unpack(struct str packed, struct buf *out, struct fail *fail)
{
    if (packed.n > UINT32_MAX)
        return fail_set(fail, "it is too big");
    if (str_starts(packed, STR("\x1f\x8b")))
        return inflate_from(packed, WINDOW_GZIP, GZIP_RATIO_MAX, out, fail);
    if (str_starts(packed, STR("PK")))
        return unzip(packed, out, fail);
    return buf_add_str(out, packed) ? 0 : fail_set(fail, "it has more than %zu bytes", out->max);
}

int gzip_unpack_ours(struct str packed, struct buf *out, struct fail *fail)
{
    return inflate_from(packed, WINDOW_GZIP, SIZE_MAX, out, fail);
}
