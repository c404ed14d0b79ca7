/*
 * tests/fakedns.h - a resolver made of maps, for tests without network or clock
 *
 * Answers wait until fakedns_run() delivers them (in the order asked), as the contract of dns/dns.h wants:
 * never before dns_query() has returned, never after dns_cancel(). Zones come from a text (one record a line:
 * "name TYPE data…", "name RCODE servfail|refused|timeout|nxdomain") or from the dns.json form of the
 * conformance suites.
 */
#ifndef TESTS_FAKEDNS_H
#define TESTS_FAKEDNS_H

#include "dns/dns.h"

struct fakedns; /* begins with struct dns */

struct fakedns *fakedns_new(void);
void fakedns_free(struct fakedns **fake);
struct dns *fakedns_dns(struct fakedns *fake);

/* e.g. `example.test TXT "v=spf1 -all"`, `example.test MX 10 mx.example.test`, `slow.test RCODE timeout`.
 * Comments start with ";" or "#". CNAMEs are followed. A name that only has children exists (NODATA). Fails
 * the test on a line it cannot read. */
void fakedns_add_text(struct fakedns *fake, const char *zone);
void fakedns_add_file(struct fakedns *fake, const char *path); /* tests/zones/… */
void fakedns_add_json(struct fakedns *fake, const void *json); /* a jansson json_t * object: name -> types */

bool fakedns_run(struct fakedns *fake);     /* delivers until nothing waits; false when there was nothing */
bool fakedns_run_one(struct fakedns *fake); /* delivers the oldest */
size_t fakedns_waiting(const struct fakedns *fake);
size_t fakedns_asked(const struct fakedns *fake);                   /* questions so far */
const char *fakedns_question(const struct fakedns *fake, size_t i); /* "TXT example.test" */

#endif
