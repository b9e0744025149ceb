/* Declares the state of a run in progress; for run*.c only. */
#ifndef QB_RUN_RUNNING_H
#define QB_RUN_RUNNING_H

#include "run/run.h"
#include "run/wave.h"
#include "io/pace.h"

enum { QB_WAVES = 4 }; /* in progress at once; see advance in run.c */

struct qb_running {
    const struct qb_batch *batch;
    const struct qb_run_options *options;
    const struct qb_listener *listener;
    struct qb_sched *sched;
    struct qb_queue *queue;
    struct qb_graph *graph;
    struct qb_lender *lender;
    struct qb_owners *owners; /* of the images; see io/named.h */
    struct qb_hold *hold;
    struct qb_overlays *overlays; /* see shrink_guard.h */
    struct qb_data_guard *data_guard;
    struct qb_err *err;   /* why nothing could be started */
    bool broken;          /* nothing could be started: see err */
    size_t *taken;        /* jobs of the next wave */
    double *locked_since; /* of each job; NULL until one waits for a lock */
    struct qb_wave waves[QB_WAVES];
    struct qb_wave *fresh, *appended, *flipped, *ending; /* each of them */
    atomic_uint_fast64_t memory; /* bytes that the plans of all waves hold */
    struct qb_space *space;      /* space that appends in progress may take */
    struct qb_failures failures;
    size_t wave_max, wave_size; /* the maximum, and the size that fits the memory limit */
    size_t done;
    double begun;
    unsigned n_waves;                  /* so far */
    bool paced;                        /* by limits.rate or limits.iops */
    bool told_of_load, told_of_window; /* that the run waits; of the window until it opens */
    struct qb_pace pace;
    bool forgetful; /* a failure of the journal was reported */
};

/* ---- run_open.c ------------------------------------------------------------------------------
 */

/* Opens the workers and makes the waves.  -1 with *err: nothing can be started. */
int qb_run_prepare(struct qb_running *r, struct qb_err *err);
void qb_run_release(struct qb_running *r);

bool qb_run_stopped(const struct qb_running *r);

/* ---- run_end.c: results of images ------------------------------------------------------------ */

/* Finishes an image whose wave is over: reports it, or requeues it to wait for a lock. */
void qb_run_finish_slot(struct qb_running *r, struct qb_slot *s, struct qb_timing timing);

/* Finishes an image that was in no wave. */
void qb_run_finish_untouched(struct qb_running *r, size_t job, enum qb_status status,
                             enum qb_code code, const char *text);

/* Passes its result on, and counts it. */
void qb_run_finish(struct qb_running *r, size_t job, struct qb_outcome *outcome);

/* Reports the images whose turn it is. */
void qb_run_tell(struct qb_running *r);

/* ---- run_policy.c: whether to continue ------------------------------------------------------- */

/* How many images of the batch may fail before no more are started: SIZE_MAX without a limit. */
size_t qb_run_most_failures(const struct qb_batch *batch);

/* Whether images may be started. */
bool qb_run_goes_on(struct qb_running *r);

/* Whether a new wave has to wait: the host is too busy (limits.load), or it is not the time for it
 * (limits.window). */
bool qb_run_is_held_back(struct qb_running *r);

/* Of a dry run without policy.roots: says which roots its images need. */
void qb_run_tell_places(const struct qb_running *r);

#endif
