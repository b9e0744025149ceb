/* Reads what `qemu-img info` tells of an image: its header, the extensions, the snapshot table and
 * the bitmap directory.  No table that maps clusters is read, and no other file is opened. */
#ifndef QB_AMEND_IMAGE_FACTS_H
#define QB_AMEND_IMAGE_FACTS_H

#include "image/bitmap.h"
#include "image/image.h"

struct qb_image_facts {
    struct qb_file file;
    struct qb_image img;       /* with its snapshot table */
    struct qb_bitmaps bitmaps; /* empty where the image has none */
    struct qb_info info;       /* its texts are those of `img` */
    uint64_t virtual_size;     /* bytes, in whole sectors, as QEMU has the disk */
    uint64_t actual_size;      /* bytes that the file occupies (st_blocks) */
    char *full_backing;        /* where the backing name leads, as QEMU says it; NULL: no name */
};

/* Opens the image with a reader's locks (none: `without_locks`; qb_image_file_begin).  The snapshot
 * table and the bitmap directory are each read in at most `memory_limit` bytes, else QB_E_MEMORY.
 * Close it in either case; it must not be moved. */
int qb_image_facts_read(struct qb_io *io, const char *path, struct qb_file *opened,
                        bool without_locks, uint64_t memory_limit, struct qb_image_facts *out,
                        struct qb_err *err);
void qb_image_facts_close(struct qb_image_facts *facts);

#endif
