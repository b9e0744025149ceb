/* `labels` of a manifest: words that go into every report of its runs. */
#ifndef QB_MANIFEST_LABELS_SECTION_H
#define QB_MANIFEST_LABELS_SECTION_H

#include "manifest/entries.h"

/* Complains about what is wrong; adds the labels to the batch's origin. */
void qb_labels_read(struct qb_reader *r, const struct qb_node *mapping);

#endif
