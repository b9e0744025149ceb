/* Answers the requests that people make of a run in progress. */
#ifndef QB_CTL_ANSWER_H
#define QB_CTL_ANSWER_H

#include <sys/types.h>

#include "outcome/hand.h"
#include "job/job.h"
#include "outcome/meter.h"

/* What the serving thread knows of the run; all of it outlives the thread. */
struct qb_ctl_scene {
    const struct qb_batch *batch;
    const struct qb_meter *meter;
    struct qb_hand *hand; /* open */
    uid_t owner;          /* who may ask, besides root: of the run, whoever its process is now */
    pid_t pid;            /* of the run: that of its parent, in a process of a relay */
    struct qb_limits *limits; /* as they are now; of this thread alone */
    double begun;             /* when the run was, by qb_now: limits.deadline counts from it */
    bool confined;         /* the process gives up its rights: its thread does so when it begins */
    void (*end_now)(void); /* ends the run as the first ^C does */
    void (*deadline)(double after); /* ends it so after these seconds; 0: never */
    /* Whether this host can have these limits: 0, or -1 with *err. */
    int (*permits)(void *arg, const struct qb_limits *limits, struct qb_err *err);
    /* The limits of the manifest as it is now, and its fingerprint.  -1 with *err. */
    int (*reload)(void *arg, struct qb_limits *limits, char print[QB_ACT_PRINT],
                  struct qb_err *err);
    void *arg;
};

/* The answer to a request of `len` bytes, as a line of JSON, malloc'ed; NULL when memory is short.
 * It takes a second at most, and longer only to read a long manifest again. */
char *qb_ctl_answer(const struct qb_ctl_scene *scene, const char *request, size_t len, uid_t uid);

#endif
