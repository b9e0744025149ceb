/* Defines a rollout: a run in steps, of which each is judged before the next one begins. */
#ifndef QB_JOB_ROLLOUT_H
#define QB_JOB_ROLLOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qbatch.h"

/* A number, or a percentage of something. */
struct qb_amount {
    uint64_t n;
    bool is_percent;
    bool is_set; /* false: not given */
};

enum { QB_STEPS_MAX = 32 }; /* of a rollout, the implied last one included */

enum qb_rollout_order { QB_ROLLOUT_HASH, QB_ROLLOUT_MANIFEST, QB_ROLLOUT_SIZE };

struct qb_amounts {
    const struct qb_amount *items; /* owned by the batch */
    size_t n;
};

/* `rollout:` of the manifest. */
struct qb_rollout {
    struct qb_amounts steps; /* those before the last one; n = 0: no rollout */
    enum qb_rollout_order order;
    unsigned line;       /* of the manifest: the one with the steps */
    double soak_seconds; /* that a step rests before it is judged */
    bool ask;            /* before the next step begins */
    struct {
        struct qb_amount max_failed; /* of a step: of its images, where it is a percentage */
        enum qb_verify verify;       /* of its images, at least */
        struct qb_name_list command; /* see host/child.h; owned by the batch; n = 0: none */
    } gate;
};

/* What earlier attempts of a resumed run did of its rollout. */
struct qb_rollout_past {
    size_t named;                   /* images of the run; 0: it is a new one */
    unsigned passed;                /* steps that were judged, and passed */
    unsigned asked;                 /* the step, from 1, that passed but for an answer; 0: none */
    bool answered;                  /* with yes */
    uint64_t changed[QB_STEPS_MAX]; /* images of each step that are as the run made them */
};

/* ---- what a run did of it -------------------------------------------------------------------- */

enum qb_gate_says {
    QB_GATE_NONE, /* the step is not over, or did not begin */
    QB_GATE_PASSED,
    QB_GATE_FAILED,
    QB_GATE_ASKED, /* it passed but for an answer, and nobody gave one, or said yes */
    QB_GATE_COUNT
};
extern const char *const qb_gate_names[QB_GATE_COUNT];

struct qb_step_sum {
    uint64_t images;          /* changed in this step and those before it, as the manifest has it */
    uint64_t drawn;           /* in this attempt */
    uint64_t changed, failed; /* of those drawn; of a dry run: that would change */
    enum qb_gate_says verdict;
};

struct qb_rollout_sum {
    unsigned n;    /* steps; 0: the run is no rollout */
    unsigned step; /* the one that is under way, or was last, from 0 */
    char why[400]; /* that step failed for; "" */
    struct qb_step_sum steps[QB_STEPS_MAX];
};

/* The images that a step of `amount` is to have changed, of `images`: a share is rounded up. */
uint64_t qb_step_images(struct qb_amount amount, uint64_t images);

/* Fills `targets` with the images of each step, of which none is below the one before it, and the
 * last one is `images`; returns how many. */
unsigned qb_step_targets(const struct qb_rollout *rollout, uint64_t images,
                         uint64_t targets[QB_STEPS_MAX]);

#endif
