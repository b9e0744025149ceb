/* Measures the physical limit that a run is compared with: only the reads and writes that the work
 * needs, with its barriers, and no computation; of mostly empty tables only the pages with data.
 * One file:
 *
 *     open, read 4 KiB, read the tables, append as many new ones, set the size, zero and lengthen
 *     the external data file and fdatasync it, fdatasync,
 *     write sector 0, fdatasync
 *
 * Many files: the same for each, with a barrier for all of them or for many, and after the last one
 * the holes and the cut.  What is copied comes before what is appended.  It runs as its own
 * process, so that the start of a program counts on both sides.
 *
 * Which way is the fastest depends on the disk, the caches and the work, so there are several
 * (limit_methods.def); the bench tries those that can do the work, and the fastest is the limit. */
#ifndef QB_SCENE_LIMIT_H
#define QB_SCENE_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum bench_limit_zeros { BENCH_LIMIT_HOLE, BENCH_LIMIT_FALLOC, BENCH_LIMIT_WRITE };

enum bench_limit_method {
#define METHOD(ID, name, fleet, threads, wave, help) BENCH_LIMIT_##ID,
#include "scene/limit_methods.def"
#undef METHOD
    BENCH_LIMIT_METHODS
};

struct bench_limit_method_row {
    const char *name;
    bool fleet;       /* works on a folder of files, not on one */
    unsigned threads; /* for each CPU */
    unsigned wave;    /* files that one thread keeps open at a time; 0: see limit_methods.def */
    const char *help;
};

extern const struct bench_limit_method_row bench_limit_methods[BENCH_LIMIT_METHODS];

struct bench_limit {
#define LIMIT(name) uint64_t name;
#include "scene/limit.def"
#undef LIMIT
};

#define BENCH_LIMIT_COMMAND "--limit-io"

/* Whether that method can do this work, and is not the same as another one there. */
bool bench_limit_can(const struct bench_limit *limit, bool fleet, enum bench_limit_method method);

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
