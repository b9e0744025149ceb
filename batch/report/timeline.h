/* A picture of a run: which waves were under way, and when each worker was busy.  An SVG whose size
 * does not grow with the fleet: few images are drawn one by one, many as how busy each moment was.
 */
#ifndef QB_REPORT_TIMELINE_H
#define QB_REPORT_TIMELINE_H

#include <stdio.h>

#include "base/vec.h"
#include "job/outcome.h"
#include "job/job.h"

struct qb_timeline_mark { /* an image */
    uint32_t job;
    float start, busy; /* seconds */
    unsigned worker;
    enum qb_status status;
};

struct qb_timeline_wave {
    double start, end;
    uint64_t images, failed;
};

struct qb_timeline {
    QB_VEC(struct qb_timeline_mark) marks;
    QB_VEC(struct qb_timeline_wave) waves; /* by number, from 1 */
    double end;                            /* of the last image */
    unsigned workers;
    bool whole; /* false: memory was short, and something is missing */
};

void qb_timeline_init(struct qb_timeline *t);
void qb_timeline_free(struct qb_timeline *t);

/* Images that no wave took are not in the picture. */
void qb_timeline_add(struct qb_timeline *t, size_t job, const struct qb_outcome *outcome);

/* Nothing at all where no image ran. */
void qb_timeline_print(FILE *f, const struct qb_timeline *t, const struct qb_batch *batch);

#endif
