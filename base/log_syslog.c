/* <syslog.h> has macros LOG_INFO, LOG_SYSLOG …, so base/log.h must not be seen here. */
#include "base/log_syslog.h"

#include <syslog.h>

void log_syslog_open(void)
{
    openlog("smtpguard", LOG_PID | LOG_NDELAY, LOG_MAIL);
}

void log_syslog_send(unsigned level, struct str text)
{
    static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

    syslog(priorities[level & 3], "%.*s", STR_ARG(text));
}
