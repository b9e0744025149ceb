/* Runs a batch: waves of images amended in step, with their results reported in manifest order.
 *
 * An image is in one of three places: the queue (ready_queue.h: it has not run or waits), a wave
 * (wave.h: it runs), or the hold (reorder.h: it is done and waits for its turn in the report).
 * run.c moves it on, from round to round; run_open.c, run_end.c and run_policy.c are its parts. */
#ifndef QB_RUN_RUN_H
#define QB_RUN_RUN_H

#include "run/reorder.h"
#include "job/hand.h"
#include "job/job.h"
#include "job/meter.h"
#include "journal/run_journal.h"

struct qb_confining;
struct qb_relay;

struct qb_run_options {
    enum qb_io_kind io;
    unsigned jobs; /* workers; 0: the manifest's number, or one that suits the machine */
    bool dry_run;
    bool describe;                  /* results contain the plan, described for people */
    struct qb_state *state;         /* the journal of the run; NULL: none */
    struct qb_confining *confining; /* of this process; NULL: it stays as it is */
    struct qb_hand *hand;           /* what people ask of it meanwhile; NULL: nothing */
    const struct qb_relay *relay; /* of a process that may die, and another goes on; see relay.h */
    bool (*stopped)(
        void); /* called between the phases: true: stop before the next flip; may be NULL */
};

struct qb_listener {
    void *arg;
    /* Makes what will be written of the job (outcome->composed), in any worker, some jobs at a time
     * and each of them once before `image`; may be NULL. */
    void (*compose)(void *arg, size_t job, struct qb_outcome *outcome);
    /* Each job once, in manifest order, from the calling thread. */
    void (*image)(void *arg, size_t job, const struct qb_outcome *outcome);
    /* With a relay, which is told results as they come: in which order they are reported (`order`
     * has each job once, in the lower 31 bits), where that is not the manifest's. */
    void (*order)(void *arg, const uint32_t *order, size_t n);
    void (*pause)(void *arg); /* after some of these calls: no more for a while; may be NULL */
    void (*notice)(void *arg, const char *text); /* one line for a person; may be NULL */
    /* Asks a person; false: not yes, or nobody is there.  May be NULL: nobody.  The wait for an
     * answer ends when `asker` hangs up, a descriptor; -1: it does not. */
    bool (*ask)(void *arg, const char *question, int asker);
    struct qb_meter *meter;         /* may be NULL */
    struct qb_rollout_sum *rollout; /* filled as it proceeds; may be NULL */
};

/* Tells the outcome of a job, counts the job as done and all of its steps as taken, and clears the
 * outcome. */
void qb_listener_tell(const struct qb_listener *listener, size_t job, struct qb_outcome *outcome);

/* Whether it may take long, so that people will want to reach it.  It looks at the files of a run
 * of a few images. */
bool qb_run_takes_long(const struct qb_batch *batch);

/* 0 when every job was reported, also failed ones; -1 when nothing could be started, and nothing
 * was touched. */
int qb_run(const struct qb_batch *batch, const struct qb_run_options *options,
           const struct qb_listener *listener, struct qb_err *err);

#endif
