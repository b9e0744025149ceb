/* Reads `graph: {scan: [...]}` of a manifest: the directories that are searched (scan.h). */
#ifndef QB_MANIFEST_SCAN_SECTION_H
#define QB_MANIFEST_SCAN_SECTION_H

#include "manifest/entries.h"

/* Reads the section into batch->scan.  Checks only that the directories and files exist. */
void qb_scan_read(struct qb_reader *r, const struct qb_node *mapping);

#endif
