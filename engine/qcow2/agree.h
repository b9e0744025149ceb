/* Whether the parts of a header agree with each other. */
#ifndef QB_QCOW2_AGREE_H
#define QB_QCOW2_AGREE_H

#include "qcow2/ext.h"
#include "qcow2/header.h"

/* A feature bit, the encryption method and the extensions say things that presuppose each other.
 * Where one is without the other, QEMU does not open the image, and what its clusters mean is a
 * guess: QB_E_CORRUPT.  All extensions of the list count, also those of a type that comes again,
 * since QEMU reads each.  ("Header", "Header extensions"; qcow2_read_extensions() and
 * qcow2_do_open() of QEMU's block/qcow2.c.) */
int qb_header_agrees(const struct qb_header *h, const qb_ext_list *exts, struct qb_err *err);

/* The same of the bitmaps extension, without which the rest of the image means what it did. */
int qb_header_bitmaps_agree(const struct qb_header *h, const qb_ext_list *exts, struct qb_err *err);

#endif
