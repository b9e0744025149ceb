/* An open image: its header, extensions and names, and on demand its snapshot table and L1 tables.
 * Nothing here changes the file. */
#ifndef QB_QCOW2_IMAGE_H
#define QB_QCOW2_IMAGE_H

#include "base/own.h"
#include "io/io.h"
#include "qcow2/ext.h"
#include "qcow2/header.h"
#include "qcow2/snapshot.h"

struct qb_image {
    struct qb_file *file; /* not owned */
    struct qb_header header;
    struct qb_geom geom;
    uint8_t *head;        /* owned: sector 0, and behind it the data of `exts` */
    uint64_t head_len;    /* bytes of `head` */
    uint64_t head_used;   /* of the file: what header, extensions and backing name take, >= 512 */
    uint32_t head_crc;    /* of the file's bytes [512, head_used) */
    uint64_t ext_end;     /* first byte behind the extensions' end marker; 0: they have none */
    uint32_t ext_end_len; /* what the end marker gives as its length: 0 as a rule */
    qb_ext_list exts;     /* owned: those that could stand in a sector */
    bool exts_left_out[QB_EXT_CLASSES]; /* more than that: they can stay, and not be moved */
    char backing_name[QB_MAX_BACKING_NAME + 1]; /* "" when there is none */
    char backing_fmt[64];                       /* "" when the header names none */
    const uint8_t *sector;                      /* see qb_image_open_as; not owned */
    struct qb_snapshot_table snapshots;         /* empty until qb_image_read_snapshots */
};

/* Reads and decodes the header of `file`.  Refuses unknown incompatible features.  An image with
 * the corrupt bit opens: what to do about it is the caller's decision. */
int qb_image_open(struct qb_io *io, struct qb_file *file, struct qb_image *out, struct qb_err *err);

/* The same with these 512 bytes in the place of the file's first sector (NULL: its own), as the
 * image would be if they were written.  They must outlive the image. */
int qb_image_open_as(struct qb_io *io, struct qb_file *file, const uint8_t *sector,
                     struct qb_image *out, struct qb_err *err);
void qb_image_close(struct qb_image *img); /* frees; the file stays open */

int qb_image_read_snapshots(struct qb_io *io, struct qb_image *img, struct qb_err *err);

/* The same within `memory_limit` bytes: QB_E_MEMORY, before they are allocated. */
int qb_image_read_snapshots_in(struct qb_io *io, struct qb_image *img, uint64_t memory_limit,
                               struct qb_err *err);

/* The bytes of memory that the open image holds beside itself. */
size_t qb_image_memory(const struct qb_image *img);

/* Whether an L1 table at `offset` begins just where the file ends: it is all zero.  QEMU reads what
 * is past a file's end as zeros, and such files are whole for it. */
bool qb_image_l1_is_past_end(const struct qb_image *img, uint64_t offset);

/* Reads `entries` L1 entries at `offset`, byte order already this machine's.  *out is malloc'ed. */
int qb_image_read_l1(struct qb_io *io, const struct qb_image *img, uint64_t offset,
                     uint32_t entries, uint64_t **out, struct qb_err *err);

/* Calls fn for each entry of a table of 64-bit entries (an L1 table, a bitmap table) that is not
 * zero, in their order.  Holes are not read, and memory stays at one window, so that a table costs
 * what the file really holds of it, not what it claims.  fn returns 0 to go on; anything else ends
 * the scan and is returned.  `what` names the table. */
typedef int qb_entry_fn(void *arg, uint32_t index, uint64_t entry, struct qb_err *err);
int qb_image_scan_entries(struct qb_io *io, const struct qb_image *img, uint64_t offset,
                          uint32_t entries, const char *what, qb_entry_fn *fn, void *arg,
                          struct qb_err *err);

/* Reads the refcount table likewise: one entry a refcount block, up to the last that is not 0. */
int qb_image_read_reftable(struct qb_io *io, const struct qb_image *img, uint64_t **out, size_t *n,
                           struct qb_err *err);

/* The facts of `qemu-img info`. */
void qb_image_info(const struct qb_image *img, struct qb_info *info);

/* Persistent bitmaps count only while the autoclear bit says that they are valid. */
bool qb_image_has_bitmaps(const struct qb_image *img, struct qb_disk_bitmaps_ext *ext);

#endif
