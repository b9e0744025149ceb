/* Decompresses clusters of an image, some at a time, on all threads that are idle.  What comes out
 * does not depend on how many there are. */
#ifndef QB_CONTENT_INFLATE_H
#define QB_CONTENT_INFLATE_H

#include "check/counts.h"
#include "base/digest.h"
#include "qcow2/codec.h"
#include "image/image.h"

/* A cluster of the batch. */
struct qb_inflating {
    uint64_t offset, available; /* its compressed bytes in the file */
    uint64_t entry, tag;        /* the caller's: what it is */
    uint8_t *in;                /* owned */
    int errnum;                 /* it could not be read; 0: it could */
    enum qb_code failed;        /* it does not decompress (QB_E_CORRUPT), or memory is short */
    struct qb_digest digest;    /* of the decompressed bytes, ... */
    bool zero;                  /* ... which all are zero */
};

struct qb_inflate_hand;

struct qb_inflater {
    struct qb_file *file; /* not owned */
    uint64_t cluster_size;
    enum qb_compression type;
    struct qb_inflate_hand *hands; /* owned, as are the next two */
    struct qb_inflating *batch;
    struct qb_req *reqs;
    unsigned n_hands;
    size_t n, room; /* of `batch` */
    size_t next;    /* the caller's: what it takes next */
};

/* For the compressed clusters of `img`, which lie in `file`.  Its memory is held in `counts` and
 * takes at most an eighth of what these may hold yet; where that is too little, it is what a single
 * cluster needs, and not held.  NULL with *err when memory is short. */
struct qb_inflater *qb_inflater_new(struct qb_io *io, const struct qb_image *img,
                                    struct qb_file *file, struct qb_counts *counts,
                                    struct qb_err *err);
void qb_inflater_free(struct qb_inflater *f); /* NULL is harmless */

static inline bool qb_inflater_is_full(const struct qb_inflater *f)
{
    return f->n == f->room;
}

/* Adds the cluster of an entry to the batch, which must not be full; `available` bytes of the file
 * from its offset on, two clusters and a sector at most, are its compressed ones. */
void qb_inflater_add(struct qb_inflater *f, uint64_t entry, uint64_t available, uint64_t offset,
                     uint64_t tag);

/* Reads all of the batch and decompresses what could be read; bytes past the file's end are zeros.
 * -1 with *err only where the work was stopped: how each cluster fared is in the batch, which
 * stays until the caller sets f->n to 0. */
int qb_inflater_run(struct qb_inflater *f, struct qb_io *io, struct qb_err *err);

#endif
