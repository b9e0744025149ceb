/* Leaves a batch with the images of one shard. */
#ifndef QB_COMMON_SHARD_BATCH_H
#define QB_COMMON_SHARD_BATCH_H

#include "job/job.h"

/* For a run: the headers of all images are read, without locks, since an image whose base is
 * amended goes where its base goes.  -1 with *err; QB_E_CANCELLED: by a signal. */
int qb_shard_batch(struct qb_batch *batch, struct qb_shard shard, unsigned jobs,
                   struct qb_err *err);

/* For a command that changes nothing: by the names alone. */
int qb_shard_list(struct qb_batch *batch, struct qb_shard shard, struct qb_err *err);

#endif
