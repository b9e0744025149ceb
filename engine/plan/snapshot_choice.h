/* Which snapshots a request deletes. */
#ifndef QB_PLAN_SNAPSHOT_CHOICE_H
#define QB_PLAN_SNAPSHOT_CHOICE_H

#include "image/image.h"

/* The name, without a NUL; the ID where there is none. */
struct qb_snapshot_name {
    const char *text;
    uint16_t len;
};
struct qb_snapshot_name qb_snapshot_name(const struct qb_snapshot *s);

/* Nanoseconds since 1970. */
uint64_t qb_snapshot_date(const struct qb_snapshot *s);

/* Fills *deleted, one byte a snapshot (malloc'ed; NULL where none is deleted), and *n, how many
 * are. The snapshot table is in memory.  -1 with QB_E_REFUSED when the request asks for nothing, or
 * with QB_E_MEMORY. */
int qb_snapshots_choose(const struct qb_image *img, const struct qb_request *rq, uint8_t **deleted,
                        uint32_t *n, struct qb_err *err);

#endif
