/* Writes and reads all bytes, however many calls that takes; a signal ends none of them. */
#ifndef QB_UTIL_WHOLE_H
#define QB_UTIL_WHOLE_H

#include <stdbool.h>
#include <stddef.h>

/* 0, or the errno of the call that failed: some may be written then. */
int qb_write_whole(int fd, const void *bytes, size_t n);

/* false: there are not as many, or reading failed. */
bool qb_read_whole(int fd, void *out, size_t n);

#endif
