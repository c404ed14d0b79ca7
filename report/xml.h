/*
 * report/xml.h - a writer of small, plain XML 1.0
 *
 * Elements with text, nothing else. Whatever octets come, what goes out is well formed and valid UTF-8:
 * markup is escaped, controls that XML forbids are dropped, line ends and tabs become a blank, and octets
 * that are no UTF-8 become U+FFFD.
 *
 * Ownership  Names of elements are literals.
 * Limits     XML_DEPTH_MAX open elements. Text leaves in pieces of about XML_PIECE octets.
 */
#ifndef REPORT_XML_H
#define REPORT_XML_H

#include "base/str.h"

enum { XML_DEPTH_MAX = 8, XML_PIECE = 4096 };

typedef void xml_sink_fn(struct str piece, void *arg);

struct xml {
    xml_sink_fn *sink;
    void *arg;
    const char *open[XML_DEPTH_MAX];
    unsigned depth;
    size_t n;
    char piece[XML_PIECE];
};

/* Writes the declaration; `name` with the namespace (NULL: none) is the root element. */
void xml_begin(struct xml *x, xml_sink_fn *sink, void *arg, const char *name, const char *xmlns);
void xml_open(struct xml *x, const char *name);
void xml_close(struct xml *x);
void xml_put(struct xml *x, const char *name, struct str text); /* an element with text, on a line */
void xml_put_z(struct xml *x, const char *name, const char *text);
void xml_put_number(struct xml *x, const char *name, uint64_t number);
void xml_end(struct xml *x); /* closes what is open, and hands the last piece to the sink */

#endif
