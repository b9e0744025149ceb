/* What a run is told, and whom it tells: the same for an amend and an undo. */
#ifndef QB_WAVE_RUN_OPTIONS_H
#define QB_WAVE_RUN_OPTIONS_H

#include "io/io.h"
#include "outcome/hand.h"
#include "job/job.h"
#include "outcome/meter.h"
#include "outcome/outcome.h"
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
    /* Called once the process has what it keeps, and before it has any thread of its own; may be
     * NULL. */
    void (*ready)(void *arg);
    void *ready_arg;
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

#endif
