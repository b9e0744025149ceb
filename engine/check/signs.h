/* Names known damage by what the findings of a check have in common: a table that was overwritten,
 * or that nothing names any more.  Such a sign is told after the findings, counts as none of them,
 * and says which guest bytes are concerned.
 *
 * What is remembered is bounded: of findings past the bounds no sign is told. */
#ifndef QB_CHECK_SIGNS_H
#define QB_CHECK_SIGNS_H

#include "check/census.h"

enum {
    QB_SIGNS_LEAKS = 4096, /* stretches of leaked clusters that are remembered */
    QB_SIGNS_TABLES = 256, /* clusters with entries that cannot be, likewise */
};

/* A cluster that holds entries which cannot be. */
struct qb_bad_table {
    uint64_t cluster;
    uint64_t last_at; /* byte of the file: the last of them */
    uint64_t entries;
};

/* A range of the guest's disk. */
struct qb_guest_range {
    uint64_t offset; /* QB_NOWHERE: it is not known where */
    uint64_t bytes;  /* 0: none is concerned */
};

struct qb_signs {
    const struct qb_image *img;
    qb_finding_fn *found; /* gets the findings, and the signs */
    void *arg;
    struct qb_count_run leaks[QB_SIGNS_LEAKS]; /* clusters, ascending */
    size_t n_leaks;
    struct qb_bad_table tables[QB_SIGNS_TABLES]; /* in the order in which they were met */
    size_t n_tables;
};

/* Its lists, of 100 KiB, are not touched before there is a finding. */
void qb_signs_begin(struct qb_signs *signs, const struct qb_image *img, qb_finding_fn *found,
                    void *arg);

/* A qb_finding_fn, whose argument is a struct qb_signs: passes the finding on. */
void qb_signs_note(void *signs, const struct qb_found *found);

/* Tells the signs: reads the tables with many such entries, and leaked clusters up to 64 MiB.
 * Nothing is read where there was no finding. */
int qb_signs_tell(struct qb_io *io, struct qb_signs *signs, struct qb_census *c,
                  struct qb_err *err);

#endif
