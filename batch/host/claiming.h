/* Claims images many at a time, by the helper of a confined process (opener/opener.h): a loop over
 * the workers, each of which asks for up to QB_PARCEL_FILES of them at once. */
#ifndef QB_HOST_CLAIMING_H
#define QB_HOST_CLAIMING_H

#include "host/sched.h"
#include "opener/opener.h"

struct qb_claiming {
    size_t n;
    /* Whether image i is to be claimed: then sets its number in the batch, and its path. */
    bool (*wants)(void *arg, size_t i, struct qb_to_claim *image);
    /* By a worker: its file; fd -1: it is to be claimed by itself, which tells why.  What is not
     * taken over is closed. */
    void (*take)(void *arg, struct qb_io *io, size_t i, struct qb_file *file);
    void *arg;
};

/* Between two loops of the sched, whose workers have an opener. */
void qb_claim_many(struct qb_sched *sched, const struct qb_claiming *claiming);

#endif
