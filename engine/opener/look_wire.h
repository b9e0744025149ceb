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
    int32_t errnum;   /* 0: all others are set */
    uint32_t is_link; /* the path of an image is one itself */
    uint32_t mode, uid, gid;
    uint64_t dev, ino, links, size, blocks;
    int64_t ctime, ctime_ns;
    int64_t mtime, mtime_ns; /* of an image */
};

struct qb_wire_looked {
    struct qb_wire_seen seen; /* REAL, FOLDER: no more than errnum */
    char real[PATH_MAX];
};

struct qb_wire_ahead {
    uint32_t n;
    uint64_t numbers[QB_PARCEL_FILES];
};

_Static_assert(sizeof(struct qb_wire_looked) <= QB_PARCEL_BYTES, "an answer fits");
_Static_assert(sizeof(struct qb_wire_seen) * QB_PARCEL_FILES <= QB_PARCEL_BYTES, "they all fit");

#endif
