/* Has the helper of a confined process look for the files of `graph: {scan: ...}`, which that may
 * not: it opens no directory.  What was found may then be read (host/confining.h). */
#ifndef QB_BACKING_SCAN_ERRAND_H
#define QB_BACKING_SCAN_ERRAND_H

#include <pthread.h>

#include "backing/scan.h"
#include "host/confining.h"

/* In the helper; zeroed where nothing was offered. */
struct qb_scan_errand {
    const struct qb_batch *batch;
    pthread_mutex_t mutex; /* of what follows */
    bool done;
    qb_paths found, unknown;
    struct qb_index by_path; /* of those found */
};

/* Offers it for a batch that scans. */
void qb_scan_offer(struct qb_scan_errand *errand, struct qb_confining *confining);
void qb_scan_errand_free(struct qb_scan_errand *errand);

#endif
