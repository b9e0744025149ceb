/* A picture of a run: which waves were under way and what came of them, when the disk was waited
 * for, and what each worker did.  An SVG whose size does not grow with the fleet: few images are
 * drawn one by one, many as what each moment was spent on. */
#ifndef QB_REPORT_TIMELINE_H
#define QB_REPORT_TIMELINE_H

#include <stdio.h>

#include "base/vec.h"
#include "job/job.h"
#include "job/outcome.h"

/* What a worker does. */
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
    QB_VEC(struct qb_span) barriers;       /* each once, whatever it covers */
    double end;                            /* of the last image */
    unsigned workers;
    uint64_t images;
    bool whole; /* false: memory was short, and something is missing */
};

void qb_timeline_init(struct qb_timeline *t);
void qb_timeline_free(struct qb_timeline *t);

/* Images that no wave took are not in the picture. */
void qb_timeline_add(struct qb_timeline *t, size_t job, const struct qb_outcome *outcome);

/* Nothing at all where no image ran. */
void qb_timeline_print(FILE *f, const struct qb_timeline *t, const struct qb_batch *batch);

#endif
