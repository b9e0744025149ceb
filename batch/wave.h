/* A wave: images amended in step, so that hundreds of them share two barriers.
 *
 *     open | plan | append | barrier | flip | barrier | settle, verify
 *
 * Each phase is one parallel loop over the slots, in which a worker touches only the slot it was
 * given.  A slot that fails, or has nothing to do, sits out the rest. */
#ifndef QB_BATCH_WAVE_H
#define QB_BATCH_WAVE_H

#include "amend/amend.h"
#include "batch/graph.h"
#include "batch/run.h"

enum qb_step {
    QB_STEP_WAITS, /* not opened yet */
    QB_STEP_OPENED,
    QB_STEP_PLANNED,  /* there is something to write */
    QB_STEP_APPENDED, /* and needs the first barrier */
    QB_STEP_FLIPPED,
    QB_STEP_OVER,    /* the result is final */
    QB_STEP_NO_ROOM, /* closed again, untouched: the plans of the others fill the memory */
    QB_STEP_AFTER,   /* closed again, untouched: another job goes first */
};

struct qb_slot {
    size_t job;
    enum qb_step step;
    struct qb_amend *amend; /* NULL while it waits and when memory was short */
    char *steps;            /* the plan in words, when asked for */
    struct qb_need need;    /* with QB_STEP_AFTER */
    dev_t dev;              /* of the file system; only with a limit for each of them */
    double busy_seconds;    /* spent on this image, not on its neighbours */
    unsigned units;         /* counted into the meter */
    int sync_errno;
};

struct qb_wave {
    const struct qb_batch *batch;
    const struct qb_run_options *options;
    struct qb_meter *meter; /* may be NULL */
    struct qb_sched *sched;
    struct qb_graph *graph;
    const struct qb_queue *queue;
    uint64_t memory_limit;
    atomic_uint_fast64_t memory; /* bytes that the plans hold */
    struct qb_slot *slots;
    size_t n;
};

/* Takes the wave's jobs (slots[i].job) through all phases.  Afterwards every slot is over, has no
 * room, comes after another job, or still waits because the run was stopped. */
void qb_wave_run(struct qb_wave *wave);

/* Closes what is left open in a slot and frees what it holds. */
void qb_wave_drop(struct qb_slot *slot);

#endif
