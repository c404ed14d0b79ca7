#include "smtp/proxy_header.h"

#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum proxy_header_status read_pieces(struct str in, size_t piece, struct proxy_header *h,
                                            size_t *taken)
{
    enum proxy_header_status status = PROXY_HEADER_MORE;
    struct proxy_header_reader reader;
    const char *why;

    *taken = 0;
    proxy_header_reader_init(&reader);
    while (*taken < in.n && status == PROXY_HEADER_MORE) {
        struct str part = str_upto(str_from(in, *taken), piece), rest = part;

        status = proxy_header_read(&reader, &rest, h, &why);
        *taken += part.n - rest.n;
        if ((status == PROXY_HEADER_FAULT) != (why != NULL))
            bug("a fault without a sentence");
    }
    proxy_header_reader_fini(&reader);
    return status;
}

static bool same(const struct endpoint *a, const struct endpoint *b)
{
    return ip_eq(&a->ip, &b->ip) && a->port == b->port;
}

/* Whole or in pieces the same is read; and what was read is read again from what we write. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole, pieces, again;
    enum proxy_header_status status;
    size_t taken, taken_in_pieces;
    struct str in;
    struct buf out;

    if (size == 0)
        return 0;
    in = str_make((const char *)data + 1, size - 1);
    status = read_pieces(in, in.n, &whole, &taken);
    if (read_pieces(in, data[0] + 1u, &pieces, &taken_in_pieces) != status)
        bug("pieces make a difference");
    if (status != PROXY_HEADER_READY)
        return 0;
    if (taken != taken_in_pieces || taken > PROXY_HEADER_MAX || pieces.version != whole.version)
        bug("pieces make another header");
    if (!whole.has_addresses)
        return 0;
    if (whole.is_local || !same(&whole.source, &pieces.source) ||
        !same(&whole.destination, &pieces.destination))
        bug("pieces make another client");
    buf_init(&out, PROXY_HEADER_WRITTEN_MAX);
    proxy_header_write(&out, &whole.source, &whole.destination);
    if (out.overflow || read_pieces(buf_str(&out), out.n, &again, &taken) != PROXY_HEADER_READY ||
        taken != out.n || !same(&whole.source, &again.source) ||
        !same(&whole.destination, &again.destination))
        bug("the client did not survive");
    buf_fini(&out);
    return 0;
}
