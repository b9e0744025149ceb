/* Whether the clone that an earlier attempt of a run made of an image stays, because it is the
 * image from before the run's first write: a clone of what is there now would be of an amended
 * image. */
#ifndef QB_CLONES_BACKUP_STAYS_H
#define QB_CLONES_BACKUP_STAYS_H

#include "journal/history.h"

/* The clone is there as it was left, nobody has put the image at `path` back, and its header is not
 * the clone's: it may have been amended by the run.  *behind: the file may have been written
 * since the run left it, so that the clone may lack what a guest wrote.  Where the headers are
 * equal nothing was amended yet, and a new clone is as good, and has what was written since. */
bool qb_backup_stays(const struct qb_trace *t, const char *path, bool *behind);

/* Something else is at its place, or it was written: somebody may use it as an image by now. */
bool qb_backup_is_written(const struct qb_trace *t);

#endif
