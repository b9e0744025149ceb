/* Composes the one command that finishes a run, as a user would type it. */
#ifndef QB_COMMON_FINISH_H
#define QB_COMMON_FINISH_H

#include "cli/cli.h"
#include "job/job.h"
#include "journal/history.h"

/* Stores in the batch the command line without options that name a run, and the state directory
 * `dir` if it is not the default. dir may be NULL: there is no journal. */
bool qb_finish_note(const struct qb_cli *cli, const char *dir, struct qb_batch *batch);

/* Whether the image is not as requested after this result, so that it remains to be finished. */
bool qb_finish_leaves(const struct qb_result *result);

/* Whether running again can help for a remaining image: the error may be transient, or the image
 * was not processed. */
bool qb_finish_can_help(const struct qb_result *result);

/* The same for an image that an earlier run left, by its journal. */
bool qb_finish_can_help_run(const struct qb_history *h);

/* The command for `n` remaining jobs, listed at `left` for the command `amend`; the caller frees
 * it.  NULL if there is none: running a manifest that adds to sizes again would add twice, without
 * a journal of the images that were amended.  `asked`: the run waits for an answer. */
char *qb_finish_command(const struct qb_cli *cli, const struct qb_batch *batch, const size_t *left,
                        size_t n, bool asked);

/* "qbatch --resume=RUN ...", or "qbatch apply --resume=RUN ..." where that is what `typed` begins
 * with, with more options, each after a blank, and the words of an earlier or the present command
 * line; the caller's to free. */
char *qb_finish_resume(const char *run, const char *options, const char *typed);

/* Whether the batch adds to the size of some image. */
bool qb_finish_adds(const struct qb_batch *batch);

#endif
