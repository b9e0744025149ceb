/* Prints the images of a run for `qbatch status`. */
#ifndef QB_FLEET_STATUS_IMAGES_H
#define QB_FLEET_STATUS_IMAGES_H

#include "journal/history.h"
#include "util/json.h"

/* Whether the image is listed: it was undone, or has an error. */
static inline bool qb_status_tells(const struct qb_trace *t)
{
    return qb_trace_is_taken_back(t) || (t->ended && t->code != QB_E_NONE);
}

/* A line of a name and its value; nothing for NULL. */
void qb_status_fact(const char *name, const char *text);

/* A short list is printed completely; of a long one, equal images are one line. */
void qb_status_images(const struct qb_history *h);

/* status_steps.c: a line, or a member of the object, for a run with steps that were judged. */
void qb_status_steps(const struct qb_history *h);
void qb_status_steps_json(struct qb_json *o, const struct qb_history *h);

/* status_orders.c: what people asked of the run, a line each. */
void qb_status_orders(const struct qb_history *h);

#endif
