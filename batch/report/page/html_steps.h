/* Writes the steps of a rollout into a page. */
#ifndef QB_PAGE_HTML_STEPS_H
#define QB_PAGE_HTML_STEPS_H

#include <stdio.h>

#include "job/rollout.h"

/* Nothing where the run is no rollout.  `run` is its number among several; 0: it is the only one.
 */
void qb_html_put_steps(FILE *f, const struct qb_rollout_sum *rollout, size_t run);

#endif
