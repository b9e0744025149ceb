/* Reads the headers of images in a process of its own, which has given up its rights: for one whose
 * work needs them (restore.c). */
#ifndef QB_CLONES_READ_APART_H
#define QB_CLONES_READ_APART_H

#include <limits.h>

#include "io/io.h"
#include "opener/parcel.h"

enum { QB_APART_MAX = 2 };

/* What there is to tell of an image; the texts of `info` are here. */
struct qb_apart {
    bool is_image;
    struct qb_err err; /* if it is none */
    struct qb_info info;
    char backing_file[PATH_MAX], backing_fmt[64], data_file[PATH_MAX];
};

/* Of up to QB_APART_MAX open files: 0, or -1 with *err where that process could not be started, or
 * died. */
int qb_read_apart(struct qb_file *const *files, size_t n, struct qb_apart out[QB_APART_MAX],
                  struct qb_err *err);

/* Takes what the process has answered, of which nothing is believed: false where it could not have
 * come from an image. */
bool qb_apart_take(const struct qb_parcel *answer, size_t n, struct qb_apart out[QB_APART_MAX]);

#endif
