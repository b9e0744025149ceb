/* The requests of opener.h and their answers; for opener*.c only. */
#ifndef QB_OPENER_OPENER_WIRE_H
#define QB_OPENER_OPENER_WIRE_H

#include <limits.h>

#include "opener/opener.h"

enum { QB_NAMER_MAX = 128 }; /* of a path that is only for messages */

/* Who names a file. */
struct qb_wire_naming {
    uid_t uid;
    gid_t gid;
    char path[QB_NAMER_MAX]; /* "": none */
};

struct qb_wire_request {
    uint32_t what, writable, without_locks;
    struct qb_wire_naming image, namer;
    dev_t dev; /* of the file that is compared with, and its owner and group */
    ino_t ino;
    char path[PATH_MAX];
};

/* What is known of a file that was opened; its descriptors come along. */
struct qb_wire_file {
    uint64_t size, allocated_at_open, mount_id;
    dev_t dev;
    ino_t ino;
    uid_t uid;
    gid_t gid;
    uint32_t other_names;
    bool opened, has_direct, is_block_device, writable, may_have_links, without_locks,
        writers_unseen;
};

struct qb_wire_answer {
    int failed; /* 0 or -1 */
    struct qb_err err;
    struct qb_wire_file file;
};

/* Several images, by their numbers; the answer has a file for each. */
struct qb_wire_claims {
    uint32_t what, n; /* CLAIM or IMAGE */
    uint64_t numbers[QB_PARCEL_FILES];
};

_Static_assert(sizeof(struct qb_wire_request) <= QB_PARCEL_BYTES, "a request fits");
_Static_assert(sizeof(struct qb_wire_answer) <= QB_PARCEL_BYTES, "an answer fits");
_Static_assert(sizeof(struct qb_wire_file) * QB_PARCEL_FILES <= QB_PARCEL_BYTES, "they all fit");

#endif
