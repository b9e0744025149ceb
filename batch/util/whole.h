/* Writes all bytes, however many calls that takes; a signal ends none of them. */
#ifndef QB_UTIL_WHOLE_H
#define QB_UTIL_WHOLE_H

#include <stddef.h>

/* 0, or the errno of the call that failed: some may be written then. */
int qb_write_whole(int fd, const void *bytes, size_t n);

#endif
