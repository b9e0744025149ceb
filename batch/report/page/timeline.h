/* Draws the timeline of a run: its waves and their results, the barriers, and the work of each
 * worker.  An SVG whose size does not grow with the fleet: few images are drawn one by one, many as
 * the shares of each kind of work over time. */
#ifndef QB_PAGE_TIMELINE_H
#define QB_PAGE_TIMELINE_H

#include <stdio.h>

#include "base/vec.h"
#include "job/job.h"
#include "outcome/outcome.h"

/* The kinds of work. */
enum qb_work { QB_WORK_READ, QB_WORK_WRITE, QB_WORK_VERIFY, QB_WORK_COUNT };

struct qb_timeline_mark { /* a span of an image */
    uint32_t job;
    float start, seconds;
    uint16_t worker;
    uint8_t work;
    bool failed;
};

struct qb_timeline_wave {
    double start, end;
    uint64_t images, failed, skipped;
};

struct qb_timeline {
    QB_VEC(struct qb_timeline_mark) marks;
    QB_VEC(struct qb_timeline_wave) waves; /* by number, from 1 */
    QB_VEC(struct qb_span) barriers;       /* each once, also if it covers several waves */
    double end;                            /* of the last image */
    unsigned workers;
    uint64_t images;
    bool whole; /* false: memory was short, and something is missing */
};

void qb_timeline_init(struct qb_timeline *t);
void qb_timeline_free(struct qb_timeline *t);

/* Images that were in no wave are left out. */
void qb_timeline_add(struct qb_timeline *t, size_t job, const struct qb_outcome *outcome);

/* Prints nothing if no image ran. */
void qb_timeline_print(FILE *f, const struct qb_timeline *t, const struct qb_batch *batch);

#endif
