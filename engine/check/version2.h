/* Finds zero clusters in a version 2 image, which no reader of that version supports. */
#ifndef QB_CHECK_VERSION2_H
#define QB_CHECK_VERSION2_H

#include "image/tables.h"

/* Reads every L2 table of a version 2 image whose snapshot table is in memory.  QB_E_CORRUPT at the
 * first zero cluster. */
int qb_version2_check(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                      struct qb_err *err);

/* *at: the byte of the file at which the first entry of these tables lies that is a zero cluster;
 * QB_NOWHERE: none is. */
int qb_version2_first(struct qb_io *io, const struct qb_image *img, const struct qb_tables *tables,
                      uint64_t *at, struct qb_err *err);

/* QB_E_CORRUPT: there is one, its entry at this byte of the file, or QB_NOWHERE. */
int qb_version2_refuse(uint64_t at, struct qb_err *err);

#endif
