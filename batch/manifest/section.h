/* Reads a section of a manifest whose keys are rows of keys.def: policy, limits, rollout. */
#ifndef QB_MANIFEST_SECTION_H
#define QB_MANIFEST_SECTION_H

#include "manifest/entries.h"

/* Sets r->settings by the mapping, whose key is the name of the section; mistakes are in r->diags.
 */
void qb_section_read(struct qb_reader *r, const struct qb_node *mapping);

#endif
