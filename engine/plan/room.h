/* Finds clusters inside the old image where nothing is: their refcount on disk is 0 and nothing
 * refers to them.  Clusters that the plan releases are none of these: the old image needs them.
 *
 * Free runs are looked for from the lowest, a few pages of the counts at a time, and only as far as
 * they are needed.  Each run is taken from its front, so what was taken can be put back. */
#ifndef QB_PLAN_ROOM_H
#define QB_PLAN_ROOM_H

#include "check/counts.h"
#include "io/io.h"

#define QB_ROOM_CLASSES 64u

/* Clusters [first, first + n) that were taken, from the front of a run. */
struct qb_room_take {
    uint64_t first, n;
    size_t run;
};

struct qb_room_mark {
    size_t n_takes, n_extents;
    size_t next[QB_ROOM_CLASSES];
};

struct qb_room {
    struct qb_io *io;
    struct qb_counts *counts;     /* of the plan: what was counted and is no more has a mark */
    uint64_t end;                 /* only clusters before this one; 0: there is no room */
    uint64_t looked;              /* clusters before this one were looked at */
    size_t max_extents;           /* that may be taken; SIZE_MAX: any number */
    QB_VEC(struct qb_range) runs; /* what is left of them, in clusters; ascending */
    QB_VEC(struct qb_room_take) takes;
    /* How far the takes are: the next run to look at for 2^k clusters in a row or more, so that
     * each run is passed once for each k. */
    struct qb_room_mark at;
};

void qb_room_free(struct qb_room *r);

/* Takes n clusters in a row: 1 with *first set, 0 if there is no such run, -1 if the memory is
 * short or the run is to stop. */
int qb_room_take(struct qb_room *r, uint64_t n, uint64_t *first, struct qb_err *err);

/* Takes the lowest free clusters, `want` of them or as many as there are in a row: 1 with *first
 * and *n set; 0 if none is left; or -1. */
int qb_room_take_some(struct qb_room *r, uint64_t want, uint64_t *first, uint64_t *n,
                      struct qb_err *err);

/* Puts back what was taken since the mark (a copy of r->at) was noted. */
void qb_room_put_back(struct qb_room *r, const struct qb_room_mark *mark);

#endif
