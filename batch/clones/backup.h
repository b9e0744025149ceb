/* `policy.backup: reflink`: clones an image before its first write to "IMAGE.RUN.bak", in the
 * directory of the file (not of a link to it), RUN being the name of the run.  The clone is durable
 * before the image's flip, and is removed if the image was not changed after all. */
#ifndef QB_CLONES_BACKUP_H
#define QB_CLONES_BACKUP_H

#include <sys/stat.h>

#include "job/job.h"
#include "io/io.h"

/* To be called before anything is touched: checks that every file system of the batch's images
 * supports clones.  A dry run writes nothing, and so only checks the type of the file system.  Sets
 * the name of the clones in the batch. -1 with *err, which names a file system without clones. */
int qb_backup_prepare(struct qb_batch *batch, bool dry_run, struct qb_err *err);

/* *made is the stat of the clone. */
int qb_backup_make(const struct qb_batch *batch, const struct qb_job *job,
                   const struct qb_file *image, struct stat *made, struct qb_err *err);
void qb_backup_remove(const struct qb_batch *batch, const struct qb_job *job);

#endif
