/* Reads `graph: {scan: [...]}` of a manifest: which folders are searched (scan.h). */
#ifndef QB_MANIFEST_SCAN_SECTION_H
#define QB_MANIFEST_SCAN_SECTION_H

#include "manifest/entries.h"

/* Reads the section into batch->scan.  Nothing is looked into but a folder's or file's being there.
 */
void qb_scan_read(struct qb_reader *r, const struct qb_node *mapping);

#endif
