/* Parallel loops with one worker a thread.  The only file that knows OpenMP.
 *
 * A worker owns its way to the disk (struct qb_io) and belongs to one thread, so nothing below
 * needs a lock.  Worker 0 is the calling thread, whose qb_io also serves between the loops. */
#ifndef QB_HOST_SCHED_H
#define QB_HOST_SCHED_H

#include "io/io.h"

struct qb_sched;

struct qb_topo;

/* Starts the workers that were chosen, where they were placed; `topo` is the sched's from now on,
 * on failure too.  With `aside` there is one more thread, for qb_sched_aside.  *fell_back is set as
 * qb_io_open does.  -1 when a worker has no way to the disk. */
int qb_sched_open(struct qb_topo *topo, enum qb_io_kind kind, bool aside, struct qb_sched **out,
                  const char **fell_back, struct qb_err *err);
void qb_sched_close(struct qb_sched *sched);

/* All workers keep the pace from now on; it is not owned. */
struct qb_pace;
void qb_sched_set_pace(struct qb_sched *sched, struct qb_pace *pace);

/* What is remembered of the images' owners (io/named.h), for all workers; not owned. */
struct qb_owners;
void qb_sched_set_owners(struct qb_sched *sched, struct qb_owners *owners);

/* Runs body(arg) on the calling thread, with the other workers at hand for its loops.  Between the
 * loops they sleep: what a wave does alone (its barriers above all) takes long enough that spinning
 * would cost more processor time than all the work. */
void qb_sched_run(struct qb_sched *sched, void (*body)(void *arg), void *arg);

/* Calls fn(arg, io, i) once for every i of [0, n), in any order and many at a time, and returns
 * after the last.  Only the thread that opened the sched may call this; outside qb_sched_run it is
 * an ordinary loop. */
typedef void qb_sched_fn(void *arg, struct qb_io *io, size_t i);
void qb_sched_each(struct qb_sched *sched, size_t n, qb_sched_fn *fn, void *arg);

/* Calls fn(arg, io) on a thread of its own, and returns at once: what mostly waits (a barrier) goes
 * on beside the loops.  One at a time; without such a thread it is an ordinary call. */
typedef void qb_aside_fn(void *arg, struct qb_io *io);
void qb_sched_aside(struct qb_sched *sched, qb_aside_fn *fn, void *arg);

/* Returns once what was put aside, if anything, is done. */
void qb_sched_aside_wait(struct qb_sched *sched);

/* The calling thread's own. */
struct qb_io *qb_sched_io(struct qb_sched *sched);

unsigned qb_sched_workers(const struct qb_sched *sched);

/* The number, from 0, of the worker whose qb_io that is. */
unsigned qb_sched_number(const struct qb_sched *sched, const struct qb_io *io);

unsigned qb_sched_openmp(void); /* the version of OpenMP: 201511 is 4.5 */

#endif
