/* Measures the physical limit that a run is compared with: only the reads and writes that the work
 * needs, with its barriers, and no computation; of mostly empty tables only the pages with data.
 * One file:
 *
 *     open, read 4 KiB, read the tables, append as many new ones, set the size, zero and lengthen
 *     the external data file and fdatasync it, fdatasync,
 *     write sector 0, fdatasync
 *
 * Many files: the same for each by a few threads, with one syncfs where there is an fdatasync, and
 * after the last one the holes.  It runs as its own process, so that the start of a program counts
 * on both sides. */
#ifndef QB_SCENE_LIMIT_H
#define QB_SCENE_LIMIT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum bench_limit_zeros { BENCH_LIMIT_HOLE, BENCH_LIMIT_FALLOC, BENCH_LIMIT_WRITE };

struct bench_limit {
#define LIMIT(name) uint64_t name;
#include "scene/limit.def"
#undef LIMIT
};

#define BENCH_LIMIT_COMMAND "--limit-io"

/* "name=N" of every number, space for all: the caller's argument list. */
size_t bench_limit_words(const struct bench_limit *limit, char words[][40]);
enum {
    BENCH_LIMIT_WORDS = 0
#define LIMIT(name) +1
#include "scene/limit.def"
#undef LIMIT
};

/* The process: argv behind BENCH_LIMIT_COMMAND is the words and one path, of an image or of a
 * folder of images.  An exit code. */
int bench_limit_main(char **argv);

#endif
