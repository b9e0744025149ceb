/* The bare I/O of one open file, phase by phase. */
#ifndef QB_BENCH_LIMIT_FILE_H
#define QB_BENCH_LIMIT_FILE_H

#include "bench/limit.h"

enum {
    BENCH_LIMIT_PIECE = 4 << 20, /* bytes of one large read or write; of the buffer */
    BENCH_LIMIT_ALIGNED = 4096,  /* the buffer's address */
};

/* Says on standard error what failed and why; -1. */
int bench_limit_complain(const char *what);

/* Reads the head and the tables, writes the new ones, sets the size.  0, or -1 after complaining.
 */
int bench_limit_append(const struct bench_limit *limit, const char *path, int fd, void *buf);

/* Writes sector 0. */
int bench_limit_flip(int fd);

#endif
