/*
 * smtp/proxy_header.h - what a balancer puts in front of a connection     HAProxy proxy-protocol.txt
 *
 * Versions 1 and 2, told apart by the first octet. Whether a peer may send one, and whether one must come,
 * is not judged here; but nothing else may come before it, and there is one at the most.
 *
 * Limits     107 octets in version 1; 4 KiB in version 2, whose blocks within (TLV) must fit exactly.
 *            A checksum that is there is verified.
 * Errors     Any octets give a header, "more", or a sentence for the log, after which the connection ends.
 */
#ifndef SMTP_PROXY_HEADER_H
#define SMTP_PROXY_HEADER_H

#include "base/buf.h"
#include "base/ip.h"

enum { PROXY_HEADER_MAX = 4096, PROXY_HEADER_WRITTEN_MAX = 52 };

struct proxy_header {
    unsigned version;                    /* 1 or 2 */
    bool is_local;                       /* the balancer's own connection: a health check */
    bool has_addresses;                  /* false: the connection's own addresses are all there is */
    struct endpoint source, destination; /* of the client's connection, canonical */
    bool tls;                            /* the client speaks TLS with the balancer */
    bool tls_verified;                   /* and has shown a certificate that was found good */
};

struct proxy_header_reader {
    struct buf in; /* the header, as far as it has come */
};
void proxy_header_reader_init(struct proxy_header_reader *reader);
void proxy_header_reader_fini(struct proxy_header_reader *reader);

enum proxy_header_status { PROXY_HEADER_MORE, PROXY_HEADER_READY, PROXY_HEADER_FAULT };

/* Takes octets from *in up to the end of the header and not beyond, and advances *in. why_out is set for a
 * fault only. After READY or FAULT the reader is spent. */
enum proxy_header_status proxy_header_read(struct proxy_header_reader *reader, struct str *in,
                                           struct proxy_header *header_out, const char **why_out);

/* Writes version 2: who the client is and where it connected to, or LOCAL (a connection of our own) when
 * source is NULL. Addresses of two families become IPv6 both. */
void proxy_header_write(struct buf *out, const struct endpoint *source, const struct endpoint *destination);

#endif
