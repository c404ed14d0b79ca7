/*
 * cli/test_spf.h - an SPF answer as JSON, the same from `test spf` and from `test message`
 */
#ifndef CLI_TEST_SPF_H
#define CLI_TEST_SPF_H

#include "auth/spf.h"
#include "base/json.h"

void cli_spf_json(struct json *j, const struct spf_answer *answer); /* one object */

#endif
