/* Shared by counts.c (adds to counts) and counts_join.c (adds counts to counts). */
#ifndef QB_CHECK_COUNTS_PARTS_H
#define QB_CHECK_COUNTS_PARTS_H

#include "check/counts.h"

/* Takes a page over, which has no counterpart there; what it holds is counted as memory. */
int qb_counts_adopt(struct qb_counts *c, struct qb_count_page *page, struct qb_err *err);

/* Gives every cluster of the page its own count and marks. */
int qb_counts_unpack(struct qb_counts *c, struct qb_count_page *p, struct qb_err *err);

/* Packs a page whose clusters have become alike. */
void qb_counts_pack(struct qb_counts *c, struct qb_count_page *p);

/* Adds to one cell of an unpacked page. */
int qb_counts_add_cell(struct qb_counts *c, struct qb_count_page *p, unsigned i, uint64_t n,
                       unsigned marks, struct qb_err *err);

void qb_count_page_free(struct qb_count_page *p);

#endif
