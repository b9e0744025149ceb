/* Compresses clusters anew, in the way of the target, and packs them.  Their lengths must be known
 * before anything is placed, so each cluster is compressed twice: while the plan is made, for its
 * length, and in the append, for its bytes; the same bytes give the same result.  One length a
 * cluster is held, and of the data some clusters, which are recompressed together. */
#ifndef QB_PLAN_RECODE_H
#define QB_PLAN_RECODE_H

#include "io/ahead.h"
#include "plan/plan.h"
#include "qcow2/codec.h"

struct qb_packed {
    uint64_t at;  /* in the file, bytes; before the layout from the stretch's beginning on */
    uint32_t len; /* bytes */
    bool plain;   /* not compressed */
};

/* One of the clusters that are recompressed together. */
struct qb_recoded {
    uint8_t *in;        /* compressed as in the image; it and the next two lie in a row, owned */
    uint8_t *plain;     /* the cluster */
    uint8_t *out;       /* compressed as in the target, where it gets smaller */
    uint64_t available; /* bytes of `in` */
    uint64_t at, guest; /* in the file, on the disk: for messages */
    uint32_t
        len; /* of `out`, or the cluster's size where it does not get smaller or is not asked */
    struct qb_packed place; /* the caller's: where it goes */
    enum qb_code failed;
};

/* What a thread needs. */
struct qb_recode_hand {
    struct qb_codec *from, *to; /* owned; NULL before the first use */
};

struct qb_recoder {
    struct qb_ahead ahead;
    struct qb_recode_hand *hands; /* owned, as is `batch` */
    unsigned n_hands;
    struct qb_recoded *batch;
    size_t n, room; /* of `batch` */
};

/* The plan's own, made when it is asked for first; its memory is counted with the plan's.  NULL
 * with *err when memory is short. */
struct qb_recoder *qb_recoder_of(struct qb_plan *plan, struct qb_err *err);
void qb_recoder_free(struct qb_recoder *r);

/* Adds the cluster of a compressed entry of the image, whose first guest byte is `guest`, to the
 * batch; to be called where r->n < r->room. */
int qb_recode_add(struct qb_recoder *r, struct qb_io *io, const struct qb_plan *plan,
                  uint64_t entry, uint64_t guest, struct qb_err *err);

/* Decompresses the batch's clusters, and compresses those whose place is not `plain`, with all
 * threads that are idle.  What comes out does not depend on their number.  It stays in the batch
 * until the caller sets r->n to 0. */
int qb_recode_run(struct qb_recoder *r, struct qb_io *io, const struct qb_plan *plan,
                  struct qb_err *err);

/* ---- where they go --------------------------------------------------------------------------- */

/* The clusters of one table, in the order of its entries.  Those that do not get smaller come first
 * and are clusters of data; the others follow one after the other, as QEMU packs them, but no
 * cluster of the file gets more of them than its refcount can say. */
struct qb_packing {
    const struct qb_plan *plan;
    const struct qb_new_table *t;
    size_t i;             /* the next */
    uint64_t plain, next; /* where the next go, bytes from the stretch's beginning on */
    uint64_t n, most;     /* of those in the cluster in which `next` lies */
};

struct qb_packing qb_packing_begin(const struct qb_plan *plan, const struct qb_new_table *t);
struct qb_packed qb_packing_next(struct qb_packing *p);

/* The length of it, whole clusters. */
uint64_t qb_packing_len(const struct qb_plan *plan, const struct qb_new_table *t);

/* Counts the references of the table's packed clusters, once they have their place. */
struct qb_layout;
int qb_packing_count(struct qb_layout *l, const struct qb_new_table *t, struct qb_err *err);

#endif
