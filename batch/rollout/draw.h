/* Decides which images of a rollout are drawn next.  Nothing but arithmetic.
 *
 * All jobs have a place in one order, which is the same in every run.  A step draws them from the
 * front, as long as those that were changed and those without a result yet are fewer than the step
 * is to have; so it draws the shortest beginning of the order that has so many changed images,
 * whatever ran beside what.  An image that was found as asked, was skipped or failed does not
 * count, and the next one is drawn.
 *
 * A backing file that is a job, too, stands before the first of its overlays.  They are drawn
 * together, even where the step then has one image more: it would say little about a backing file
 * that nothing uses which is amended. */
#ifndef QB_ROLLOUT_DRAW_H
#define QB_ROLLOUT_DRAW_H

#include "job/rollout.h"

#define QB_NO_PARENT UINT32_MAX

/* The order of `n` jobs, below 2^31: ascending `keys`, and of equal ones the number; `parents` has
 * for each job the one that goes before it, or QB_NO_PARENT.  The upper bit of a place is set where
 * the next one is drawn along.  malloc'ed; NULL when memory is short. */
uint32_t *qb_draw_order(size_t n, const uint64_t *keys, const uint32_t *parents);

#define QB_DRAW_ALONG (UINT32_C(1) << 31)
static inline uint32_t qb_draw_job(uint32_t place)
{
    return place & ~QB_DRAW_ALONG;
}

struct qb_drawing {
    uint64_t targets[QB_STEPS_MAX]; /* changed images after each step */
    unsigned n_steps, step;         /* step: under way, from 0 */
    uint64_t changed;               /* in this step and those before it */
    uint64_t later[QB_STEPS_MAX];   /* in each of those after it, by earlier attempts */
    uint64_t open;                  /* drawn, and without a result */
    bool along;                     /* the next one belongs to what was drawn last */
};

/* Begins with the first step that is not passed. */
void qb_drawing_begin(struct qb_drawing *d, const struct qb_rollout *rollout, uint64_t images,
                      const struct qb_rollout_past *past);

/* The next step begins. */
void qb_drawing_next(struct qb_drawing *d);

/* Whether the step draws one more. */
bool qb_drawing_goes_on(const struct qb_drawing *d);

/* One was drawn; `along`: its place has QB_DRAW_ALONG.  One that another one waits for, and that
 * nobody foresaw, is drawn without being asked for.  One that has its result already is passed. */
void qb_drawing_drew(struct qb_drawing *d, bool along);
void qb_drawing_passed(struct qb_drawing *d, bool along);
void qb_drawing_pulled(struct qb_drawing *d);

/* One that was drawn has its result. */
void qb_drawing_over(struct qb_drawing *d, bool changed);

/* Whether the step is the last one, after which nothing is judged. */
bool qb_drawing_is_last(const struct qb_drawing *d);

/* How many images may fail in the step under way: SIZE_MAX in the last one. */
uint64_t qb_drawing_may_fail(const struct qb_drawing *d, const struct qb_rollout *rollout);

#endif
