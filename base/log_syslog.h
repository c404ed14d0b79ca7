/*
 * base/log_syslog.h - syslog(3), behind names that do not collide with those of base/log.h
 *
 * For the log's writer thread only: syslog(3) may block.
 */
#ifndef BASE_LOG_SYSLOG_H
#define BASE_LOG_SYSLOG_H

#include "base/str.h"

void log_syslog_open(void);
void log_syslog_send(unsigned level, struct str text); /* level: enum log_level */

#endif
