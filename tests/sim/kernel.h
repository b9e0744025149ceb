/* A kernel that does only a part of what it is asked, is interrupted, or fails: the n-th of the
 * calls pread, pwrite, pwritev, ftruncate, fallocate, fdatasync and of the completions of a ring,
 * which are linked to this file (--wrap). */
#ifndef QB_TESTS_KERNEL_H
#define QB_TESTS_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

enum { KERNEL_SHORT = -1 }; /* instead of an errno: half of the bytes are transferred */

/* From now on call `nth` goes wrong, and with `onwards` all behind it. */
void kernel_fails(uint64_t nth, int how, bool onwards);

/* From now on none does; how many calls there were. */
uint64_t kernel_is_back(void);

/* Whether some sync went wrong since kernel_fails. */
bool kernel_failed_a_sync(void);

#endif
