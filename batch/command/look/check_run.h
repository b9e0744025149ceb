/* Checks the images of a batch on all cores, and shows the answers in the order of the images. */
#ifndef QB_LOOK_CHECK_RUN_H
#define QB_LOOK_CHECK_RUN_H

#include "amend/check_image.h"
#include "host/confining.h"
#include "job/job.h"
#include "outcome/meter.h"
#include "record/checked.h"
#include "sink/sinks.h"

struct qb_check_options {
    enum qb_io_kind io;
    unsigned jobs; /* 0: automatic */
    bool json, quiet, all_rows;
    FILE *out;              /* for people, or JSON */
    struct qb_sinks *sinks; /* the files of reports */
    struct qb_confining *confining;
    bool without_locks;
    enum qb_check_level level;
    enum qb_watching watching;
};

/* 0 with *sum, also when ^C ended it; -1 when nothing could be started.  *stdout_errno is the first
 * failure to write there, which ends it, too. */
int qb_check_all(const struct qb_batch *batch, const struct qb_check_options *options,
                 struct qb_check_summary *sum, int *stdout_errno, struct qb_err *err);

#endif
