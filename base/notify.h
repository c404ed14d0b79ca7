/*
 * base/notify.h - tells systemd how the process is (sd_notify(3), without its library)
 *
 * Datagrams to the socket that $NOTIFY_SOCKET names, a path or an abstract one. Without it nothing is said. What cannot
 * be sent at once is dropped: nobody waits for his supervisor.
 */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Lines such as "READY=1\nSTATUS=…". */
void notify(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* READY=1 must follow when the reload is over, however it went. */
void notify_reloading(void);

/* Nothing is said any more: another process speaks now. */
void notify_end(void);

/* Within what time WATCHDOG=1 is wanted from this process again and again; 0: not at all. */
int64_t notify_watchdog_ms(void);

#endif
