/* Makes rings that read, write and sync, and can do nothing else.
 *
 * Without that a ring would open files and make sockets for a process that is not let do so itself:
 * a filter of system calls (confine.h) does not see what is in a ring. */
#ifndef QB_IO_RING_SETUP_H
#define QB_IO_RING_SETUP_H

#include <liburing.h>

/* A ring of this many entries: 0 or an errno; EOPNOTSUPP where the kernel lacks operations, or the
 * restriction (before 5.10). */
int qb_ring_setup(unsigned entries, struct io_uring *out);

#endif
