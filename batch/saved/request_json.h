/* Requests and settings as objects of JSON: each key with the text, or the list of texts, that a
 * manifest would have.  Keys that have their default are left out. */
#ifndef QB_SAVED_REQUEST_JSON_H
#define QB_SAVED_REQUEST_JSON_H

#include "job/keys.h"
#include "job/rules.h"
#include "util/json.h"
#include "util/json_read.h"

/* Adds "request", "when", "expect", "after" and "check_content".  false where a name in a list is
 * not UTF-8. */
bool qb_request_json(struct qb_json *o, const struct qb_request *rq, const struct qb_rules *rules);

/* Adds "policy", "limits" and "rollout". */
bool qb_settings_json(struct qb_json *o, const struct qb_batch *batch);

/* Reads what the two above wrote, into the batch, and into a request that has the batch's policy
 * (`base`).  What it does not know, or cannot be a value, is false with a sentence in `why`. */
enum { QB_REQUEST_WHY = 300 };
bool qb_settings_read(const struct qb_parsed *o, struct qb_batch *batch, struct qb_request *base,
                      char why[QB_REQUEST_WHY]);
bool qb_request_read(const struct qb_parsed *o, const struct qb_request *base,
                     struct qb_batch *batch, struct qb_request *rq, const struct qb_rules **rules,
                     char why[QB_REQUEST_WHY]);

#endif
