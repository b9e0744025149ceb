/* Reads text from sources that may be slow: files, FIFOs, pipes and terminals.  Waiting for them
 * ends with the first ^C. */
#ifndef QB_UTIL_SLOW_INPUT_H
#define QB_UTIL_SLOW_INPUT_H

#include <sys/types.h>

/* Opens a path for reading without waiting for a FIFO's writer, or standard input for "-".  -1 with
 * errno: EISDIR for a directory, ENOTSUP for an endless device. */
int qb_incoming_open(const char *path);

/* Up to `len` bytes, as soon as some are available; 0 at the end; -1 with errno, EINTR when the run
 * must stop. */
ssize_t qb_incoming_read(int fd, void *buf, size_t len);

void qb_incoming_close(int fd); /* standard input stays open; -1 is fine */

#endif
