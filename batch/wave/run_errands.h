/* What a run does with rights that a confined process does not have (host/confining.h): here, or by
 * the helper. */
#ifndef QB_WAVE_RUN_ERRANDS_H
#define QB_WAVE_RUN_ERRANDS_H

#include <stdatomic.h>
#include <sys/stat.h>

#include "backing/scan_errand.h"
#include "host/confining.h"
#include "job/rollout.h"
#include "wave/run_gate.h"

/* Offered by a run that may be confined, before that. */
struct qb_run_errands {
    struct qb_confining *confining; /* NULL: the run is not confined */
    unsigned extend, clone, unclone, places, gate;
    const char *journal; /* the path of the run's journal; NULL: it has none */
    struct qb_scan_errand scan;
    const struct qb_owners *owners; /* for places; to be set before the run is confined */
    /* In the helper, by job: whether a clone was made, and how often extend_command was run; and
     * how often the gate was. */
    bool *cloned;
    atomic_uint *extended;
    atomic_uint gates;
};

int qb_run_errands_offer(struct qb_run_errands *e, struct qb_confining *c, const char *journal,
                         struct qb_err *err);
void qb_run_errands_free(struct qb_run_errands *e);

/* Runs policy.extend_command for the job's image, which lacks that many bytes; see qb_child_run. */
int qb_run_extend(const struct qb_run_errands *e, const struct qb_batch *batch, size_t job,
                  uint64_t bytes, struct qb_io *io, struct qb_err *err);

/* Runs rollout.gate.command, for a step of these numbers: 0 if there is none, or it succeeds. */
int qb_run_gate(const struct qb_run_errands *e, const struct qb_batch *batch,
                const struct qb_gate_numbers *numbers, struct qb_io *io, struct qb_err *err);

/* See backup.h. */
int qb_run_clone(const struct qb_run_errands *e, const struct qb_batch *batch, size_t job,
                 const struct qb_file *image, struct stat *made, struct qb_err *err);
void qb_run_unclone(const struct qb_run_errands *e, const struct qb_batch *batch, size_t job);

/* qb_owners_places of what was opened anywhere, malloc'ed; NULL where it is not known. */
char *qb_run_places(const struct qb_run_errands *e);

#endif
