/* How many files a process can have open, and the kernel's table of them. */
#ifndef QB_BASE_DESCRIPTORS_H
#define QB_BASE_DESCRIPTORS_H

#include <stddef.h>
#include <sys/resource.h>

/* Raises the soft limit on open files to the hard one, and returns how many can be open then: 1
 * where that is not known, RLIM_INFINITY for any number. */
rlim_t qb_descriptors_allow(void);

/* Has the kernel make its table of open files large enough for so many, or for what the limit
 * allows.  Later, with threads that share it, each doubling would stop whoever opens a file for
 * some ten milliseconds (synchronize_rcu() of Linux), so this comes before the first one. */
void qb_descriptors_make_room(size_t files);

#endif
