/*
 * report/read.h - reads aggregate reports of others, whatever shape they have            (the door to expat)
 *
 * Both shapes and their drafts: elements are known by their path, whatever their namespace; what is unknown
 * is skipped. A document type declaration ends the reading: no report has one, and entities are a weapon.
 *
 * Limits  Texts are cut at READ_TEXT_MAX octets, elements deeper than READ_DEPTH_MAX are skipped; deeper than
 * READ_DEPTH_END the reading ends. The rest is the caller's: he bounded the document (report/gzip.h).
 */
#ifndef REPORT_READ_H
#define REPORT_READ_H

#include "base/fail.h"
#include "base/str.h"

enum { READ_TEXT_MAX = 255, READ_RESULTS_MAX = 1023, READ_DEPTH_MAX = 12, READ_DEPTH_END = 100 };

struct read_head {
    char org_name[READ_TEXT_MAX + 1], email[READ_TEXT_MAX + 1], report_id[READ_TEXT_MAX + 1];
    char begin[READ_TEXT_MAX + 1], end[READ_TEXT_MAX + 1], error[READ_TEXT_MAX + 1];
    char domain[READ_TEXT_MAX + 1], p[READ_TEXT_MAX + 1], sp[READ_TEXT_MAX + 1], np[READ_TEXT_MAX + 1];
    char adkim[READ_TEXT_MAX + 1], aspf[READ_TEXT_MAX + 1], pct[READ_TEXT_MAX + 1], fo[READ_TEXT_MAX + 1];
    char testing[READ_TEXT_MAX + 1];
};

struct read_record {
    char source_ip[READ_TEXT_MAX + 1], count[READ_TEXT_MAX + 1], disposition[READ_TEXT_MAX + 1];
    char dkim[READ_TEXT_MAX + 1], spf[READ_TEXT_MAX + 1], reason[READ_TEXT_MAX + 1];
    char header_from[READ_TEXT_MAX + 1], envelope_from[READ_TEXT_MAX + 1], envelope_to[READ_TEXT_MAX + 1];
    char results[READ_RESULTS_MAX + 1]; /* "dkim=pass (example.org s1) spf=fail (example.org)" */
};

/* Once for each record, in their order; the head is complete before the first (but for what stands behind).
 */
typedef void read_record_fn(const struct read_head *head, const struct read_record *record, void *arg);

int read_report(struct str xml, struct read_head *head_out, read_record_fn *each, void *arg,
                struct fail *fail);

#endif
