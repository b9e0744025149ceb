/* Declares the state of a run in progress; for run*.c only. */
#ifndef QB_RUN_RUNNING_H
#define QB_RUN_RUNNING_H

#include "wave/relay.h"
#include "run/reorder.h"
#include "run/run.h"
#include "wave/wave.h"
#include "io/pace.h"
#include "rollout/draw.h"

enum { QB_WAVES = 4 }; /* in progress at once; see advance in run.c */

enum { QB_STEP_CHANGED = 0x80 }; /* a bit of qb_rolling.steps */

/* The rollout of a run. */
struct qb_rolling {
    uint32_t *order; /* NULL: the run is none */
    size_t cursor;   /* places before it were drawn */
    uint8_t *steps;  /* in which each job was drawn, from 1; 0: not yet; a bit if it was changed */
    struct qb_drawing drawing;
    struct qb_rollout_sum sum;
    bool ends; /* the step under way did not pass: nothing more is started */
};

/* Results whose turn it is to be reported: so many are made into texts at a time, whatever waits.
 */
enum { QB_TOLD_AT_ONCE = 256 };
struct qb_told {
    size_t job;
    struct qb_outcome outcome;
};

struct qb_running {
    const struct qb_batch *batch;
    const struct qb_run_options *options;
    const struct qb_listener *listener;
    struct qb_sched *sched;
    struct qb_queue *queue;
    struct qb_graph *graph;
    struct qb_lender *lender;
    struct qb_owners *owners; /* of the images; see opener/named.h */
    struct qb_hold *hold;
    struct qb_overlays *overlays; /* see shrink_guard.h */
    struct qb_data_guard *data_guard;
    struct qb_run_errands errands;
    struct qb_err *err;   /* why nothing could be started */
    bool broken;          /* nothing could be started: see err */
    size_t *taken;        /* jobs of the next wave */
    struct qb_told *told; /* QB_TOLD_AT_ONCE */
    double *locked_since; /* of each job; NULL until one waits for a lock */
    struct qb_wave waves[QB_WAVES];
    struct qb_wave *fresh, *appended, *flipped, *ending; /* each of them */
    atomic_uint_fast64_t memory; /* bytes that the plans of all waves hold */
    atomic_bool no_more;         /* see struct qb_wave */
    struct qb_space *space;      /* space that appends in progress may take */
    struct qb_failures failures;
    struct qb_limits limits; /* of the batch, or as set since by qbatch ctl */
    struct qb_rolling rolling;
    size_t wave_max;  /* images in a wave, at most */
    size_t wave_fits; /* as many as the memory limit has room for */
    size_t wave_pays; /* as many as barriers take to cost little */
    size_t done;
    double begun;
    unsigned n_waves;                  /* so far */
    int pressure_fd;                   /* where limits.load may be: see priority.h; else -1 */
    bool paced;                        /* by `pace`, not by that of options->hand */
    bool told_of_load, told_of_window; /* that the run waits; of the window until it opens */
    struct qb_pace pace;
    bool forgetful;                 /* a failure of the journal was reported */
    size_t heeded;                  /* acts of options->hand that are recorded */
    struct qb_suspected suspected;  /* with a relay */
    QB_VEC(struct qb_held *) ended; /* of images whose results are told next */
};

/* ---- run_open.c ------------------------------------------------------------------------------
 */

/* Opens the workers and makes the waves.  -1 with *err: nothing can be started. */
int qb_run_prepare(struct qb_running *r, struct qb_err *err);
void qb_run_release(struct qb_running *r);

/* Before anything is written, so that every image is seen as it is now.  -1 with r->err. */
int qb_run_find_overlays(struct qb_running *r);

bool qb_run_stopped(const struct qb_running *r);

/* ---- run_confine.c ---------------------------------------------------------------------------
 */

/* With policy.sandbox strict, takes a user and a mount namespace of its own for the process, which
 * has one thread.  -1 with r->err. */
int qb_run_enter(struct qb_running *r);

/* Confines a large run, before it has opened anything; qb_wave_confine does so with others.  -1
 * with r->err where `strict` could not. */
int qb_run_confine(struct qb_running *r);

/* ---- run_note.c: the journal ------------------------------------------------------------------
 */

/* The plans of a wave are written to the journal first, along with the results of others. */
void qb_run_note_plans(struct qb_running *r, struct qb_wave *wave);

/* Clones, and proofs for undos, of what was written just now; the barrier that is next covers them.
 */
void qb_run_note_appends(struct qb_running *r, struct qb_wave *wave);

/* A failure of the journal, if any: said once. */
void qb_run_tell_of_journal(struct qb_running *r, int errnum);

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

/* ---- run_rollout.c ---------------------------------------------------------------------------
 */

/* Makes the order in which images are drawn, and begins with the first step that an earlier attempt
 * has not passed.  Nothing without a rollout.  -1 with *err. */
int qb_run_roll(struct qb_running *r, struct qb_err *err);
void qb_rolling_free(struct qb_rolling *rolling);

static inline bool qb_run_is_rollout(const struct qb_running *r)
{
    return r->rolling.order != NULL;
}

/* A step begins: its limit of failures is that of the run.  What the listener knows of steps. */
void qb_run_begin_step(struct qb_running *r);
void qb_run_publish_steps(const struct qb_running *r);

/* Takes up to `most` jobs that may run now into r->taken; returns how many. */
size_t qb_run_take(struct qb_running *r, size_t most);

/* The job must wait for another one, see qb_queue_after. */
void qb_run_after(struct qb_running *r, size_t job, size_t other, bool must);

/* The job has its result, which gets the number of its step. */
void qb_run_rolled(struct qb_running *r, size_t job, struct qb_outcome *outcome);

/* The number of that step, from 1, or of an earlier one in which the image was changed; 0: none. */
unsigned qb_run_step_of(const struct qb_running *r, size_t job);

/* ---- run_steps.c -----------------------------------------------------------------------------
 */

/* How the gate has an image of a judged step verified, at least. */
enum qb_verify qb_run_verifies(const struct qb_running *r, size_t job);

/* Whether the step under way has the result of each image that it draws, and is not the last. */
bool qb_run_step_is_over(const struct qb_running *r);

/* Whether a step is under way that will be judged: all of a rollout but the last one. */
bool qb_run_is_judged(const struct qb_running *r);

/* Judges it, and begins the next one, or ends the run. */
void qb_run_end_step(struct qb_running *r);

/* At the end of a run: records that a step failed, if it ended for that. */
void qb_run_end_roll(struct qb_running *r);

/* The job at a place in the order in which results are reported. */
size_t qb_run_job_at(const struct qb_running *r, size_t place);

/* ---- run_policy.c: whether to continue ------------------------------------------------------- */

/* How many images of the batch may fail before no more are started: SIZE_MAX without a limit. */
size_t qb_run_most_failures(const struct qb_batch *batch);

/* Whether images may be started. */
bool qb_run_goes_on(struct qb_running *r);

/* Whether a new wave has to wait: the host is too busy (limits.load), or it is not the time for it
 * (limits.window). */
bool qb_run_is_held_back(struct qb_running *r);

/* ---- run_hand.c: what people ask of it meanwhile --------------------------------------------- */

/* Whether the run is to end: it was stopped, or no more waves are wanted. */
bool qb_run_ends(const struct qb_running *r);

/* Whether no new wave is wanted for now. */
bool qb_run_is_paused(const struct qb_running *r);

/* What a process before this one has recorded (relay.h) is done again, as far as it still matters.
 */
void qb_run_take_up(struct qb_running *r);

/* Records what was asked since the last call, and does it. */
void qb_run_heed(struct qb_running *r);

/* Of n jobs in r->taken, leaves those that nobody asked to skip; returns how many. */
size_t qb_run_begin(struct qb_running *r, size_t n);

/* Finishes an image that is to be skipped. */
void qb_run_skip(struct qb_running *r, size_t job);

/* What the run waits for, a static string; NULL: for nothing. */
void qb_run_waits_for(const struct qb_running *r, const char *what);
void qb_run_publish_waves(const struct qb_running *r, size_t under_way);

/* Of a dry run without policy.roots: says which roots its images need. */
void qb_run_tell_places(const struct qb_running *r);

#endif
