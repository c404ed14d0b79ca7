/*
 * config/value.h - the types of settings, as text and as numbers
 *
 * Every function is total: all of the text is the value, or the fail says what is wrong and what is allowed.
 * Nothing has a hidden unit: 300ms, 300s, 5m, 1h, 2d; 512K, 25M, 2G.
 */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include "base/ip.h"

int value_duration_ms(struct str text, int64_t *ms_out, struct fail *fail);
int value_bytes(struct str text, int64_t *bytes_out, struct fail *fail);
int value_number(struct str text, int64_t *number_out, struct fail *fail); /* with a sign, if there is one */
int value_bool(struct str text, bool *value_out, struct fail *fail);

/* "60/1m": how many in how long. */
int value_rate(struct str text, int64_t *count_out, int64_t *ms_out, struct fail *fail);
int value_time_of_day(struct str text, int64_t *second_out, struct fail *fail); /* "00:30" */

/* Host names: letters, digits and inner hyphens, labels of 1 to 63, 253 in all. Lower case; U-labels become
 * A-labels. */
int value_domain(struct arena *mem, struct str text, const char **domain_out, struct fail *fail);

/* An authserv-id is a token, for us without "/" (RFC 8601 2.2, RFC 2045 5.1). */
int value_authserv_id(struct str text, struct fail *fail);

/* "192.0.2.1:53" or a bare address, which gets `port`. Port 0 is refused. */
int value_endpoint(struct str text, uint16_t port, struct endpoint *endpoint_out, struct fail *fail);

/* "127.0.0.2-127.0.0.11" or one address; within 127/8, without the error codes of 127.255.255.0/24. */
int value_codes(struct str text, struct ip *first_out, struct ip *last_out, struct fail *fail);

#endif
