/* Runs a batch: waves of images amended in step, with their results reported in manifest order.
 *
 * An image is in one of three places: the queue (ready_queue.h: it has not run or waits), a wave
 * (wave.h: it runs), or the hold (reorder.h: it is done and waits for its turn in the report).
 * run.c moves it on, from round to round; run_open.c, run_end.c and run_policy.c are its parts. */
#ifndef QB_RUN_RUN_H
#define QB_RUN_RUN_H

#include "wave/run_options.h"

/* Whether it may take long, so that people will want to reach it.  It looks at the files of a run
 * of a few images. */
bool qb_run_takes_long(const struct qb_batch *batch);

/* 0 when every job was reported, also failed ones; -1 when nothing could be started, and nothing
 * was touched. */
int qb_run(const struct qb_batch *batch, const struct qb_run_options *options,
           const struct qb_listener *listener, struct qb_err *err);

#endif
