/*
 * cli/status.h - the daemon's answer to "status", for people
 */
#ifndef CLI_STATUS_H
#define CLI_STATUS_H

#include "cli/control.h"

void cli_status_print(const struct yaml_node *status);
uint64_t cli_status_number(const struct yaml_node *status, const char *path); /* 0 when it is not there */

#endif
