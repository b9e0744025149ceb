/* Writes samples of Prometheus metrics; of a check, the whole file. */
#ifndef QB_SINK_METRICS_H
#define QB_SINK_METRICS_H

#include "sink/sinks.h"

struct qb_metrics {
    FILE *f;
    const char *name;      /* the label "manifest" */
    struct qb_shard shard; /* the label "shard"; of = 0: none */
};

/* Of the names without "qbatch_".  The help and the type; then a sample, with a label unless it is
 * NULL; and a metric with one sample. */
void qb_metrics_begin(const struct qb_metrics *m, const char *metric, const char *help);
void qb_metrics_sample(const struct qb_metrics *m, const char *metric, const char *label,
                       const char *value, double d);
void qb_metrics_single(const struct qb_metrics *m, const char *metric, const char *help, double d);

/* ---- metrics_check.c: the hooks of the sink -------------------------------------------------- */

struct qb_metrics_check {
    uint64_t images_with[QB_DEFECT_COUNT]; /* that finding */
    uint64_t leaks, leaked_bytes;
};

int qb_metrics_checked(FILE *f, const struct qb_batch *batch, const struct qb_checked *checked);
void qb_metrics_check_take(struct qb_sink *sink, size_t job, const struct qb_sink_text *text);
void qb_metrics_check_end(const struct qb_metrics *m, const struct qb_metrics_check *all,
                          const struct qb_check_telling *t);

#endif
