/* Threads beside those that work, in a process that forks.
 *
 * A child has the forking thread alone, and whatever lock another one held stays locked in it for
 * ever: glibc minds its own (malloc, stdio), a sanitizer's allocator does not, and no library
 * promises to.  So a thread that is started here works between two calls, and qb_fork() waits until
 * none does; one that waits holds nothing. */
#ifndef QB_BASE_BESIDE_H
#define QB_BASE_BESIDE_H

#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>

/* Starts a thread that gets no signals: they are for those that were there.  It has begun when this
 * returns, so that nothing of its start is in progress in a later fork.  0 or an errno value. */
int qb_beside_start(pthread_t *thread, void *(*fn)(void *), void *arg);

/* Around what such a thread does while others may fork; not nested. */
void qb_beside_work(void);
void qb_beside_rest(void);

/* Calls fn(arg, i) for each i below n, in no order, on the calling thread and up to so many others,
 * which have ended when this returns.  Where they cannot be made, fewer serve. */
void qb_beside_each(size_t n, unsigned others, void (*fn)(void *arg, size_t i), void *arg);

/* fork(2), while no such thread works.  Not for a thread that works so itself. */
pid_t qb_fork(void);

#endif
