/* Prints the answers of a check of many images for people: those with findings, then a line about
 * all.  Of a large batch equal answers are one line at the end: their number and the first names,
 * so that memory does not grow with the fleet. */
#ifndef QB_TEXT_CHECK_TABLE_H
#define QB_TEXT_CHECK_TABLE_H

#include "job/job.h"
#include "record/checked.h"
#include "record/groups.h"

struct qb_check_table {
    const struct qb_batch *batch;
    FILE *out; /* of the lines */
    bool quiet;
    bool incomplete; /* memory was short for some images */
    struct qb_groups groups;
};

/* How many images are shown one by one. */
enum { QB_CHECK_SHOWN_WHOLE = 50 };

/* What a group has in common, malloc'ed: the first finding, or why it could not be checked.  NULL
 * when memory is short. */
char *qb_check_table_text(const struct qb_checked *checked);

void qb_check_table_start(struct qb_check_table *table, const struct qb_batch *batch, FILE *out,
                          bool quiet);
void qb_check_table_add(struct qb_check_table *table, size_t job, enum qb_verdict verdict,
                        enum qb_code code, const char *text);

/* Prints the groups, and the last line unless it is quiet. */
void qb_check_table_end(struct qb_check_table *table, const struct qb_check_summary *sum);

#endif
