/*
 * report/aggregate.h - one domain's day as the report that its owner asked for       RFC 9990 (and RFC
 * 7489 7.2)
 *
 * Two shapes. RFC 7489's, without a namespace, is what every reader understands; RFC 9990's has the namespace
 * urn:ietf:params:xml:ns:dmarc-2.0 and says more, and some readers cannot take it.
 *
 * The same rows give the same octets, the same name and the same Report-ID: a report that is sent again can
 * be recognised.
 *
 * Ownership  Strings of the result come from `mem`, the octets of the report lie in `gz`.
 * Limits     Rows are read twice and written as they come, so memory is the compressed report (gz->max) and
 *            some 300 KiB. What would become larger than that is written again with half of the rows, until
 * it fits, and says how many messages it leaves out.
 */
#ifndef REPORT_AGGREGATE_H
#define REPORT_AGGREGATE_H

#include "base/buf.h"
#include "report/bounce.h"
#include "report/history.h"

enum aggregate_format { AGGREGATE_RFC7489, AGGREGATE_RFC9990 };

/* Who reports. */
struct report_identity {
    const char *org_name;
    const char *email;         /* the From address, and the contact in the report */
    const char *submitter;     /* the domain of it */
    const char *hostname;      /* makes Report-IDs of hosts that share no store differ */
    struct bounce_key bounces; /* with one, mails of ours carry a token */
};

struct aggregate_ask {
    struct store *store;
    int64_t day;
    const char *domain;
    enum aggregate_format format;
    const struct report_identity *identity;
};

struct aggregate {
    const char *report_id;             /* a dot-atom */
    const char *file_name;             /* RFC 9990 3.3: submitter!domain!begin!end!unique.xml.gz */
    const struct dmarc_record *record; /* the one that most messages were judged by */
    uint64_t rows, messages;           /* in the report */
    uint64_t left_out;
};

enum aggregate_outcome { AGGREGATE_BUILT, AGGREGATE_NOTHING, AGGREGATE_FAILED };

/* Only what the report would be: its names, record and counts, without limit of size. */
enum aggregate_outcome aggregate_look(struct arena *mem, const struct aggregate_ask *ask,
                                      struct aggregate *aggregate_out, struct fail *fail);

/* AGGREGATE_NOTHING: no rows, or no record that can be read. `fail` tells when it failed. */
enum aggregate_outcome aggregate_build(struct arena *mem, const struct aggregate_ask *ask, struct buf *gz,
                                       struct aggregate *aggregate_out, struct fail *fail);

/* What a name must look like before it is put into file names, header fields and addresses. */
bool report_domain_is_plain(const char *domain);

#endif
