/* Judges the names by which an image is reached: policy.on_link. */
#ifndef QB_FILES_LINKS_H
#define QB_FILES_LINKS_H

#include "files/file.h"

/* Whether an open image may be amended under this path: 0, or -1 with QB_E_REFUSED.  By owner: each
 * symbolic link on the way belongs to root, to the caller or to the image's owner.  The way is
 * followed again only where it has links; QB_E_CHANGED where it now leads to another file. */
int qb_links_check(const struct qb_file *file, enum qb_on_link rule, struct qb_err *err);

#endif
