/* Declares the calling process of a relay, for relay_run.c and relay_bury.c only. */
#ifndef QB_RUN_RELAY_PARENT_H
#define QB_RUN_RELAY_PARENT_H

#include "base/vec.h"
#include "run/relay_run.h"
#include "run/reorder.h"

struct qb_relay_parent {
    const struct qb_relay_run *run;
    struct qb_relay relay;
    struct qb_mortal process;
    struct qb_hold *hold;
    bool *settled; /* of each job; jobs have it when a process begins: until then the pages of these
                      are shared with the present one, which a write would copy */
    uint32_t *order; /* owned; of a rollout */
    char *message;   /* owned */
    size_t room;
    size_t told, told_before; /* results; before the present process */
    bool careful;             /* the present process has suspects first */
    bool misled;              /* it told what no process of this program tells */
    bool told_sandbox;        /* the present process, before it read an image; and these: */
    size_t notices, asked;
    bool ended;
    struct qb_relay_end last;
    unsigned barren;
    unsigned deaths;
    size_t lost[QB_HELD_MAX]; /* jobs that the last one held */
    size_t n_lost;
    size_t headers;               /* that it was reading in advance (backing/deadly.h) */
    QB_VEC(struct qb_held) facts; /* what is known of these, and of those before */
    char how[QB_MORTAL_HOW];
};

static inline size_t qb_relay_jobs(const struct qb_relay_parent *p)
{
    return p->run->batch->n_jobs;
}

void qb_relay_notice(const struct qb_relay_parent *p, const char *text);

/* Takes the outcome over. */
void qb_relay_settle(struct qb_relay_parent *p, size_t job, struct qb_outcome *outcome);

/* Ends it and its helper, and notes how it ended. */
void qb_relay_wait(struct qb_relay_parent *p);

/* After a death: whether another process goes on. */
bool qb_relay_bury(struct qb_relay_parent *p);

/* Where none does: a step in which a process died did not pass. */
void qb_relay_end_rollout(struct qb_relay_parent *p);

/* Settles the images that nobody begins any more. */
void qb_relay_leave_rest(struct qb_relay_parent *p);

#endif
