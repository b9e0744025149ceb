/* A random fleet, amended by qb_run on a simulated host, and a judge for each of its images. */
#ifndef QB_TESTS_FLEET_H
#define QB_TESTS_FLEET_H

#include "job/job.h"
#include "device.h"
#include "host.h"
#include "judge.h"

struct fleet_image {
    struct subject subject;
    struct judge judge;
    enum qb_status status; /* as qb_run told */
    struct qb_err err;     /* likewise */
    int reclaim_errno;     /* likewise: why clusters were not moved any further */
    size_t told;           /* events of the machine before that */
};

struct fleet {
    struct qb_mem_log *log;
    struct fleet_image *images; /* image i is disk i of the log */
    struct qb_batch batch;      /* and its job i */
    unsigned n;
    unsigned wave_max;
    bool stops; /* the run is told to stop on its way */
    bool all_raw;
    struct dice dice;
};

/* Draws the images and amends each of them in peace, for its judge.  `n` of them; 0: drawn. */
void fleet_make(struct fleet *f, uint64_t seed, unsigned n);
/* The same, of raw disks that become images. */
void fleet_make_raw(struct fleet *f, uint64_t seed);
void fleet_free(struct fleet *f);

/* Amends all of them, on new disks and in waves that overlap.  `host` says what goes wrong; its
 * disks, dice and wave are set here.  Always the same for the same host.  -1 with *err when the run
 * could not be started. */
int fleet_run(struct fleet *f, struct host *host, struct qb_err *err);

/* Its two parts: the disks and the batch are made, and the program runs. */
void fleet_prepare(struct fleet *f);
int fleet_start(struct fleet *f, struct host *host, struct qb_err *err);

/* Every image must have ended as in peace, unless the run was told to stop. */
void fleet_compare(struct fleet *f);

/* Cuts the power after each of the disk's events from number `first` on, and once after the last:
 * with all of what is not durable on the disk, and with some of it, in `tears` ways. */
void fleet_judge(struct fleet *f, unsigned i, const struct device *d, size_t first, unsigned tears);

#endif
