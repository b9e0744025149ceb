/* Prints the images of a run for `qbatch status`. */
#ifndef QB_FLEET_STATUS_IMAGES_H
#define QB_FLEET_STATUS_IMAGES_H

#include "journal/history.h"

/* Whether the image is listed: it was undone, or has an error. */
static inline bool qb_status_tells(const struct qb_trace *t)
{
    return qb_trace_is_taken_back(t) || (t->ended && t->code != QB_E_NONE);
}

/* A short list is printed completely; of a long one, equal images are one line. */
void qb_status_images(const struct qb_history *h);

#endif
