/* Notifies systemd through the socket of $NOTIFY_SOCKET: sd_notify(3) without its library. */
#ifndef QB_HOST_NOTIFY_H
#define QB_HOST_NOTIFY_H

#include <stdbool.h>

/* Whether there is a socket to notify. */
bool qb_notify_is_wanted(void);

/* Sends lines such as "READY=1\nSTATUS=...", without waiting.  Failures are ignored. */
void qb_notify(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
