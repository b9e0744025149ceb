/* Reads the steps of `rollout` in a manifest. */
#ifndef QB_MANIFEST_ROLLOUT_SECTION_H
#define QB_MANIFEST_ROLLOUT_SECTION_H

#include "manifest/entries.h"

/* Sets r->settings.rollout.steps; -1 with a mistake in r->diags. */
int qb_read_steps(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *value);

#endif
