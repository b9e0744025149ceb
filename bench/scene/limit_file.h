/* Does the bare I/O of one open file, phase by phase. */
#ifndef QB_SCENE_LIMIT_FILE_H
#define QB_SCENE_LIMIT_FILE_H

#include "scene/limit.h"

enum {
    BENCH_LIMIT_PIECE = 4 << 20, /* bytes of one large read or write; of the buffer */
    BENCH_LIMIT_ALIGNED = 4096,  /* the buffer's address */
};

/* Reports on standard error what failed and why; returns -1. */
int bench_limit_complain(const char *what);

/* Reads the head and the tables, writes the new ones, sets the size.  0, or -1 after complaining.
 */
int bench_limit_append(const struct bench_limit *limit, const char *path, int fd, void *buf);

/* Writes sector 0. */
int bench_limit_flip(int fd);

/* Makes the holes. */
int bench_limit_punch(const struct bench_limit *limit, int fd);

#endif
