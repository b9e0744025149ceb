/* Bounds what one image may cost, whatever its tables claim: by what its files occupy on disk.
 *
 * A budget is set in the io while an image is read and its append is written.  Every file that is
 * opened meanwhile adds what it occupies; qb_io_go_on, which every loop over what a file claims
 * asks, ends the work once the processor time is used up.  What follows the flip has no budget: it
 * reads no more than planning did, and a commit is brought to its end. */
#ifndef QB_IO_BUDGET_H
#define QB_IO_BUDGET_H

#include "files/file.h"

struct qb_budget {
    double cpu_seconds;   /* of the threads that do the work; 0: by what the files occupy */
    unsigned descriptors; /* files that are open together for the image; 0: a chain of any depth */
    uint64_t occupied;    /* bytes on disk of the files that were opened; new space counts too */
    double used_seconds;  /* processor time, up to the last pause */
    double from_seconds;  /* the thread's clock when it went on */
    bool runs;            /* since then the thread's time counts */
    unsigned asked;       /* how often qb_io_go_on was called */
};

/* What files that occupy so much may cost by default: a minute, and a second for every 4 MiB.  The
 * slowest work there is, compressing by zstd, takes a tenth of that. */
double qb_budget_cpu(uint64_t occupied);

/* ... and how much an append may allocate: 256 MiB, and 64 times as much as they occupy. */
uint64_t qb_budget_append(uint64_t occupied);

/* ... and how much memory planning may take: 64 MiB, and 8 times as much. */
uint64_t qb_budget_memory(uint64_t occupied);

/* ... and how long its part of a report or a map may be: 1 MiB, and 64 times as much.  A run of a
 * map, of at most 150 bytes, takes an L2 entry of 8. */
uint64_t qb_budget_report(uint64_t occupied);

/* A file that is read or written for the image was opened; a block device is all occupied. */
void qb_budget_add(struct qb_budget *budget, const struct qb_file *file);

/* The thread works for this image from now on, or does not any more. */
void qb_budget_go(struct qb_budget *budget);
void qb_budget_pause(struct qb_budget *budget);

/* Whether the processor time is used up; seldom looks at a clock. */
bool qb_budget_is_spent(struct qb_budget *budget);

/* Refuses with the time that was allowed; returns -1. */
int qb_budget_fail(const struct qb_budget *budget, struct qb_err *err);

#endif
