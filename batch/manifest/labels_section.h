/* Reads `labels` of a manifest: key and value pairs in every report of its runs. */
#ifndef QB_MANIFEST_LABELS_SECTION_H
#define QB_MANIFEST_LABELS_SECTION_H

#include "manifest/entries.h"

/* Adds the labels to the batch's origin; mistakes go to r->diags. */
void qb_labels_read(struct qb_reader *r, const struct qb_node *mapping);

#endif
