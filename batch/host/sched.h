/* Runs parallel loops with one worker per thread.  sched.c is the only file that uses OpenMP.
 *
 * A worker owns its access to the disk (struct qb_io) and belongs to one thread, so lower layers
 * need no locks.  Worker 0 is the calling thread, whose qb_io is also used between the loops. */
#ifndef QB_HOST_SCHED_H
#define QB_HOST_SCHED_H

#include "host/aside.h"

struct qb_sched;

struct qb_topo;

/* Readies the chosen workers; takes `topo` over, also on failure.  The others begin, at their
 * places, with the first qb_sched_run: between two parallel regions OpenMP's threads would spin.
 * With `aside` there is one more thread, for qb_sched_aside.  *fell_back is set as by qb_io_open.
 * -1 when opening the first worker's qb_io failed. */
int qb_sched_open(struct qb_topo *topo, enum qb_io_kind kind, bool aside, struct qb_sched **out,
                  const char **fell_back, struct qb_err *err);
void qb_sched_close(struct qb_sched *sched);

/* Limits all workers to the pace from now on; it is not owned. */
struct qb_pace;
void qb_sched_set_pace(struct qb_sched *sched, struct qb_pace *pace);

/* Sets the cache of the images' owners (opener/named.h), for all workers; not owned. */
struct qb_owners;
void qb_sched_set_owners(struct qb_sched *sched, struct qb_owners *owners);

/* All workers open their files by another process from now on (opener/opener.h); not owned. */
struct qb_opener;
void qb_sched_set_opener(struct qb_sched *sched, const struct qb_opener *opener);

/* Runs body(arg) on the calling thread, with the other workers available for its loops.  Between
 * the loops they sleep: the serial parts of a wave (mainly its barriers) take so long that spinning
 * would cost more processor time than all the work. */
void qb_sched_run(struct qb_sched *sched, void (*body)(void *arg), void *arg);

/* Calls fn(arg, io, i) once for every i of [0, n), in any order and many at a time, and returns
 * after the last.  Only the thread that opened the sched may call this; outside qb_sched_run it is
 * an ordinary loop. */
typedef void qb_sched_fn(void *arg, struct qb_io *io, size_t i);
void qb_sched_each(struct qb_sched *sched, size_t n, qb_sched_fn *fn, void *arg);

/* The same for calls that may mostly wait for the kernel: where they turn out to, up to `most`
 * threads more than there are workers take part, those of qb_sched_later.  None where the user
 * chose the number of workers, or while they are held. */
void qb_sched_each_waiting(struct qb_sched *sched, size_t n, unsigned most, qb_sched_fn *fn,
                           void *arg);

/* How many threads besides the workers take part in the loop in progress, or soon may. */
unsigned qb_sched_more(const struct qb_sched *sched);

/* In such a loop, and between them, a worker may have a loop of its own inside qb_sched_run: the
 * crew (io/crew.h) of each worker's qb_io is helping.h's. */

/* Calls fn(arg, io, i) once on each of the threads, the one beside them included, those of
 * qb_sched_later not, of which there may be none yet, and on the calling one last, when all others
 * have returned; outside qb_sched_run on that one alone. */
void qb_sched_all(struct qb_sched *sched, qb_sched_fn *fn, void *arg);

/* Calls fn(arg, io) on a thread of its own, and returns at once: a task that mostly waits (a
 * barrier) runs in parallel with the loops.  One at a time; without such a thread it is an ordinary
 * call. */
void qb_sched_aside(struct qb_sched *sched, qb_aside_fn *fn, void *arg);

/* Waits for the call of qb_sched_aside, if there is one. */
void qb_sched_aside_wait(struct qb_sched *sched);

/* Has fn(arg, io, i), which mostly waits for the kernel, called on one of more threads than there
 * are workers (later.h), and returns at once; where no such thread is to be had, or the user chose
 * the number of workers, it is an ordinary call.  By any worker, inside a loop or not; `own` is its
 * qb_io. */
void qb_sched_later(struct qb_sched *sched, struct qb_io *own, qb_sched_fn *fn, void *arg,
                    size_t i);

/* Waits until all calls of qb_sched_later have returned. */
void qb_sched_later_wait(struct qb_sched *sched);

/* As long as it is held, no thread is made for qb_sched_each_waiting, qb_sched_later or a loop of
 * one worker: it would keep rights that the process is about to give up. */
void qb_sched_hold(struct qb_sched *sched, bool held);

/* The qb_io of the calling thread. */
struct qb_io *qb_sched_io(struct qb_sched *sched);

unsigned qb_sched_workers(const struct qb_sched *sched);

/* The first worker stays on no core for a while: a process that is forked then is free to run
 * anywhere. */
void qb_sched_loosen(struct qb_sched *sched);
void qb_sched_fasten(struct qb_sched *sched);

/* The number, from 0, of the worker with this qb_io; threads besides them are numbered after them.
 */
unsigned qb_sched_number(struct qb_sched *sched, const struct qb_io *io);

unsigned qb_sched_openmp(void); /* the version of OpenMP: 201511 is 4.5 */

#endif
