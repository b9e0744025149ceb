/* What people asked of a run by qbatch ctl, as reports have it: of a run that is in progress, or
 * read from a report or a journal. */
#ifndef QB_OUTCOME_ORDERS_H
#define QB_OUTCOME_ORDERS_H

#include "outcome/hand.h"
#include "job/job.h"
#include "util/json_read.h"

struct qb_order {
    const char *what, *who, *at, *path; /* owned by the list; path: of an image that is skipped */
    uint64_t uid;
};

typedef QB_VEC(struct qb_order) qb_orders;

void qb_orders_free(qb_orders *orders);

/* Those of a run that is over. */
bool qb_orders_of(const struct qb_hand *hand, const struct qb_batch *batch, qb_orders *out);

/* One of such a list, or a record of a journal; nothing where that lacks something. */
void qb_order_read(const struct qb_parsed *order, qb_orders *out);

#endif
