/*
 * cli/test_spf.h - an SPF answer as JSON, the same from `test spf` and from `test message`; and its steps
 */
#ifndef CLI_TEST_SPF_H
#define CLI_TEST_SPF_H

#include "auth/spf.h"
#include "base/json.h"

void cli_spf_json(struct json *j, const struct spf_answer *answer);     /* one object */
void cli_spf_put(struct json *j, const struct spf_answer *answer);      /* its keys alone */
void cli_spf_trace_json(struct json *j, const struct spf_trace *trace); /* one array */
void cli_spf_trace_print(const struct spf_trace *trace);

#endif
