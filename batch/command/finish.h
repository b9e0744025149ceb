/* Names the one command that finishes what a run leaves, as a user would type it. */
#ifndef QB_COMMAND_FINISH_H
#define QB_COMMAND_FINISH_H

#include "cli/cli.h"
#include "job/job.h"

/* Notes in the batch how it was called: the command line without what names a run, and the state
 * folder `dir` where another command would not find it by itself.  dir may be NULL: none is kept.
 */
bool qb_finish_note(const struct qb_cli *cli, const char *dir, struct qb_batch *batch);

/* Whether the image is not as requested after this result, so that the run leaves it. */
bool qb_finish_leaves(const struct qb_result *result);

/* Whether running the same again can come to more for an image that is left: what was wrong may
 * have passed, or the image was not dealt with. */
bool qb_finish_can_help(const struct qb_result *result);

/* The command for `n` jobs that are left, which are at `left` where the command is `amend`; the
 * caller's to free.  NULL where there is none: running a manifest again that adds to sizes would
 * add twice, and no journal tells to which images. */
char *qb_finish_command(const struct qb_cli *cli, const struct qb_batch *batch, const size_t *left,
                        size_t n);

/* "qbatch --resume=RUN ..." with more options, each after a blank, and the words of an earlier or
 * the present command line; the caller's to free. */
char *qb_finish_resume(const char *run, const char *options, const char *typed);

/* Whether some image of the batch has its size added to. */
bool qb_finish_adds(const struct qb_batch *batch);

#endif
