/* The orders of people in the lines of reports: `hand`. */
#ifndef QB_RECORD_ORDERS_JSON_H
#define QB_RECORD_ORDERS_JSON_H

#include "outcome/orders.h"
#include "util/json.h"
#include "util/json_read.h"

/* A list under `hand`; nothing where there are none. */
void qb_orders_json(struct qb_json *o, const qb_orders *orders);

/* Reads that list; what is not such an object is left out. */
void qb_orders_read(const struct qb_parsed *o, qb_orders *out);

/* "pause", "skip a.qcow2": safe for a terminal. */
void qb_order_print(FILE *f, const struct qb_order *order);

#endif
