/* Does the bare I/O of one file, phase by phase, or all of it. */
#ifndef QB_SCENE_LIMIT_FILE_H
#define QB_SCENE_LIMIT_FILE_H

#include "qcow2/disk.h"
#include "scene/limit.h"

enum {
    BENCH_LIMIT_HEAD = 4096,     /* bytes read at offset 0, at most */
    BENCH_LIMIT_PIECE = 4 << 20, /* bytes of one large read or write; of the buffer */
    BENCH_LIMIT_ALIGNED = 4096,  /* the buffer's address */
};

/* Reports on standard error what failed and why; returns -1. */
int bench_limit_complain(const char *what);

/* A buffer of BENCH_LIMIT_PIECE bytes; NULL after complaining. */
void *bench_limit_buffer(void);

/* A descriptor, or -1 after complaining.  Does not change the access time where it may avoid it. */
int bench_limit_open(const struct bench_limit *limit, const char *path);

/* One transfer of a range in pieces: read into buf, or buf written again and again. */
int bench_limit_read(int fd, uint64_t at, uint64_t bytes, void *buf);
int bench_limit_write(int fd, uint64_t at, uint64_t bytes, const void *buf);

/* Reads the head, of which `sector` becomes the first part, and the tables, writes the new ones,
 * sets the size.  0, or -1 after complaining. */
int bench_limit_append(const struct bench_limit *limit, const char *path, int fd, void *buf,
                       uint8_t sector[QB_SECTOR]);

/* Writes sector 0: what bench_limit_append read, so that the image stays valid; what it contains
 * does not matter to the disk. */
int bench_limit_flip(int fd, const uint8_t sector[QB_SECTOR]);

/* Makes the holes. */
int bench_limit_punch(const struct bench_limit *limit, int fd);

/* All of it for the file at this path. */
int bench_limit_one(const struct bench_limit *limit, const char *path);

/* ---- limit_shared.c: by several threads ------------------------------------------------------ */

/* Tables that lie scattered: many reads in flight. */
int bench_limit_read_scattered(const struct bench_limit *limit, int fd);

/* A range, a part of it by each of limit->threads. */
int bench_limit_share(const struct bench_limit *limit, int fd, uint64_t at, uint64_t bytes,
                      bool write);

#endif
