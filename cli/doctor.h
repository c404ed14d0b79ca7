/*
 * cli/doctor.h - what the doctor looks at, one file a part: the DNS, this host, the backends, reports
 *
 * Each part adds findings: OK, WARN (mail goes, but worse than it could) or FAIL (mail suffers), and what to
 * do. The parts wait for their answers on the doctor's own loop, one after the other: it is nobody's hot
 * path.
 */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include "cli/cli.h"

enum doctor_level { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

struct doctor_finding {
    struct doctor_finding *next;
    enum doctor_level level;
    const char *part;    /* "resolver", "list", … */
    const char *finding; /* one sentence */
    const char *advice;  /* NULL: nothing to do */
};

struct doctor {
    struct cli_lookup lookup;
    struct doctor_finding *first, **last;
    int64_t now_unix;
};

/* advice may be NULL; finding is printf's. */
void doctor_add(struct doctor *doctor, enum doctor_level level, const char *part, const char *advice,
                const char *finding, ...) __attribute__((format(printf, 5, 6)));

void doctor_resolver(struct doctor *doctor);
void doctor_lists(struct doctor *doctor);
void doctor_names(struct doctor *doctor);
void doctor_tls(struct doctor *doctor);
void doctor_store(struct doctor *doctor);
void doctor_spool(struct doctor *doctor);
void doctor_backends(struct doctor *doctor);
void doctor_reports(struct doctor *doctor); /* nothing, when none are sent */

/* Public resolvers, which DNS lists refuse. */
bool doctor_is_public_resolver(const struct ip *ip);

#endif
