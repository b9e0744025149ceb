/* Sums up a command that read many images, for programs and people. */
#ifndef QB_TEXT_READ_SUMMARY_H
#define QB_TEXT_READ_SUMMARY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct qb_profile_fleet;

struct qb_read_summary {
    uint64_t images, failed; /* that were read or could not be, and those that could not */
    uint64_t not_reached;    /* because of ^C */
    bool incomplete;         /* memory was short for the answers about some images */
    double seconds;
    const struct qb_profile_fleet *fleet; /* profile_show.h; NULL: no profile was asked for */
};

int qb_line_read_summary(FILE *f, const struct qb_read_summary *sum, int exit_code);
void qb_read_summary_print(FILE *f, const struct qb_read_summary *sum);

#endif
