/* Confines a process that reads headers alone (host/confining.h): `qbatch graph`, and the one that
 * finds which images of a shard are bases of others. */
#ifndef QB_COMMON_CONFINED_READING_H
#define QB_COMMON_CONFINED_READING_H

#include "backing/scan_errand.h"
#include "cli/cli_check.h"
#include "host/confining.h"
#include "host/mortal.h"

struct qb_confined_reading { /* zeroed: nothing to end */
    struct qb_confining confining;
    struct qb_scan_errand scan;
};

/* Before qb_sched_run, and within it, before the first file is opened: from then on a helper opens
 * them, as these owners permit.  0 where policy.sandbox is off; -1 where it is strict and cannot
 * be. */
int qb_confined_reading_enter(struct qb_confined_reading *r, struct qb_batch *batch,
                              struct qb_sched *sched, struct qb_owners *owners, struct qb_err *err);
int qb_confined_reading_begin(struct qb_confined_reading *r, struct qb_sched *sched,
                              struct qb_owners *owners, struct qb_err *err);
void qb_confined_reading_end(struct qb_confined_reading *r);

/* Has the headers of the batch read by a process that may die of one, and by others after it, until
 * one is not led to a header that ends it (backing/deadly.h). */
struct qb_headers_apart {
    struct qb_batch *batch;
    const char *program;             /* "qbatch graph", for notices */
    void (*body)(void *arg, int fd); /* in that process: reads, and tells what take() takes */
    /* In this one: false where the process has ended before it told all. */
    bool (*take)(void *arg, struct qb_mortal *from);
    void *arg;
    bool keeps_output; /* body() writes to standard output, once all headers are read */
};

/* 0 once take() has returned true; -1 with *err: QB_E_CANCELLED by a signal.  *began: there was
 * such a process; if not, nothing has happened. */
int qb_headers_read_apart(const struct qb_headers_apart *h, bool *began, struct qb_err *err);

/* Says once, on standard error, what a sandbox lacks here; nothing with --quiet. */
void qb_confining_tell_lack(const struct qb_cli *cli, const struct qb_confining *c);

#endif
