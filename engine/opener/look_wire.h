/* The requests of look.h and their answers; for look*.c only. */
#ifndef QB_OPENER_LOOK_WIRE_H
#define QB_OPENER_LOOK_WIRE_H

#include <limits.h>
#include <stdint.h>

#include "opener/look.h"
#include "opener/opener.h"

enum qb_looking {
    QB_LOOKING_AT,    /* qb_look */
    QB_LOOKING_REAL,  /* qb_look_real */
    QB_LOOKING_FOLDER /* qb_look_real_folder */
};

struct qb_wire_look {
    uint32_t what;
    char path[PATH_MAX];
};

/* What a path leads to. */
struct qb_wire_seen {
    int32_t errnum; /* 0: all others are set */
    uint32_t uid, gid;
    uint32_t mode; /* the kind; of an image, the permissions, too */
    uint64_t dev, ino, links;
    int64_t ctime, ctime_ns;
    /* Of an image alone: */
    uint64_t size, blocks;
    int64_t mtime, mtime_ns;
    uint32_t is_link; /* its path is one itself */
};

struct qb_wire_looked {
    struct qb_wire_seen seen; /* REAL, FOLDER: no more than errnum */
    char real[PATH_MAX];
};

struct qb_wire_ahead {
    uint32_t n;
    uint64_t numbers[QB_PARCEL_FILES];
};

/* look_judge.c: 0 with the status of what this path, no image's, leads to, if that is told; or an
 * errno: EACCES where it is not. */
int qb_look_judge(struct qb_opening_rules *rules, struct qb_owners *owners, const char *path,
                  struct stat *st);

_Static_assert(sizeof(struct qb_wire_looked) <= QB_PARCEL_BYTES, "an answer fits");
_Static_assert(sizeof(struct qb_wire_seen) * QB_PARCEL_FILES <= QB_PARCEL_BYTES, "they all fit");

#endif
