/* `policy.backup: reflink`: before its first write an image is cloned to "IMAGE.RUN.bak", beside
 * the file that a link leads to, RUN being the name of the run.  The clone is durable before the
 * image's flip, and goes again where the image was not changed after all. */
#ifndef QB_RUN_BACKUP_H
#define QB_RUN_BACKUP_H

#include "job/job.h"
#include "io/io.h"

/* Before anything is touched: whether every file system that the batch's images are on can clone.
 * A dry run writes nothing, and so only looks at what kind of file system it is.  Gives the batch
 * the name that the clones will have.  -1 with *err, which names one that cannot. */
int qb_backup_prepare(struct qb_batch *batch, bool dry_run, struct qb_err *err);

int qb_backup_make(const struct qb_batch *batch, const struct qb_job *job,
                   const struct qb_file *image, struct qb_err *err);
void qb_backup_remove(const struct qb_batch *batch, const struct qb_job *job);

#endif
