/* Writes the steps of a rollout for programs, and reads them back. */
#ifndef QB_RECORD_ROLLOUT_JSON_H
#define QB_RECORD_ROLLOUT_JSON_H

#include "job/rollout.h"
#include "util/json.h"
#include "util/json_read.h"

/* Adds "rollout" to an object. */
void qb_rollout_json(struct qb_json *o, const struct qb_rollout_sum *sum);

/* That of an object, malloc'ed; NULL when it has none, what is there is not a rollout, or memory is
 * short. */
struct qb_rollout_sum *qb_rollout_read(const struct qb_parsed *o);

#endif
