/* Notifies systemd through the socket of $NOTIFY_SOCKET: sd_notify(3) without its library. */
#ifndef QB_HOST_NOTIFY_H
#define QB_HOST_NOTIFY_H

#include <stdbool.h>

/* A descriptor of that socket, to be closed; -1 where there is none.  It is opened once: a process
 * that is confined later cannot. */
int qb_notify_open(void);

/* Sends lines such as "READY=1\nSTATUS=...", without waiting.  Failures are ignored, and so is a
 * descriptor of -1. */
void qb_notify(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
