/* Finds the external data file that a header names. */
#ifndef QB_CHAIN_DATA_NAME_H
#define QB_CHAIN_DATA_NAME_H

#include "base/err.h"

/* The path, malloc'ed, of the data file that the header of the image at `image_path` names.  QEMU
 * takes a relative name from the directory in which it is started, which is the image's as a rule:
 * where both have such a file, and not the same, the name is refused.  QB_E_BACKING_REFUSED for
 * that and for names with a protocol (json:, nbd:). */
struct qb_opener; /* who looks at both; see look.h */
int qb_data_locate(const struct qb_opener *by, const char *image_path, const char *name,
                   char **path, struct qb_err *err);

/* A failure to open the data file at `path`, in words that name it; returns -1. */
int qb_data_blame(const char *path, const struct qb_err *why, struct qb_err *err);

#endif
