/* Lists of what an amend takes away or changes, in a record of a report: as many as the result
 * names. */
#ifndef QB_RECORD_REPORT_JSON_LISTS_H
#define QB_RECORD_REPORT_JSON_LISTS_H

#include "qbatch.h"
#include "util/json.h"

/* How many snapshots are deleted, and the first of them. */
void qb_json_snapshots(struct qb_json *record, const struct qb_result *result);

/* How many bitmaps change, and the first of them. */
void qb_json_bitmaps(struct qb_json *record, const struct qb_result *result);

/* The first ranges of leaked clusters that are freed; nothing where none is. */
void qb_json_freed(struct qb_json *leaks, const struct qb_result *result);

#endif
