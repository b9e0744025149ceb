/* Does the bare I/O of all files of a folder. */
#ifndef QB_SCENE_LIMIT_FLEET_H
#define QB_SCENE_LIMIT_FLEET_H

#include "base/vec.h"
#include "scene/limit.h"

/* The files, in the order of their inodes, which a cold disk reads fastest. */
struct bench_limit_names {
    struct bench_limit_name {
        uint64_t inode;
        char *name; /* relative to the process's directory */
    } * items;
    size_t n, cap;
};

/* By limit->method.  0, or -1 after complaining.  The folder becomes the process's directory. */
int bench_limit_fleet(const struct bench_limit *limit, const char *folder);

/* ---- limit_ring.c ---------------------------------------------------------------------------- */

/* Whether linked requests can do the work: no size is set, nothing is copied or punched. */
bool bench_limit_ring_can(const struct bench_limit *limit);

/* Which requests a pass makes of each file. */
enum { BENCH_LIMIT_APPEND = 1, BENCH_LIMIT_FLIP = 2, BENCH_LIMIT_PUNCH = 4 };

/* Every step-th file from the first one on, by one ring: opened, read, and as `pass` says appended
 * to and its sector 0 written, closed.  0, or -1 after complaining. */
int bench_limit_ring(const struct bench_limit *limit, const struct bench_limit_names *names,
                     size_t first, size_t step, unsigned pass);

#endif
