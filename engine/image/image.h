/* Opens an image and reads its header, extensions and names, and on demand its snapshot table and
 * L1 tables.  Never writes. */
#ifndef QB_IMAGE_IMAGE_H
#define QB_IMAGE_IMAGE_H

#include "base/own.h"
#include "io/io.h"
#include "qcow2/ext.h"
#include "qcow2/header.h"
#include "qcow2/snapshot.h"

struct qb_image {
    struct qb_file *file; /* not owned */
    struct qb_header header;
    struct qb_geom geom;
    uint8_t *head;     /* owned: sector 0, and after it the data of `exts` */
    uint64_t head_len; /* bytes of `head` */
    uint64_t
        head_used;     /* bytes of the file that header, extensions and backing name take, >= 512 */
    uint32_t head_crc; /* of the file's bytes [512, head_used) */
    uint64_t ext_end;  /* first byte past the extensions' end marker; 0: they have none */
    uint32_t ext_end_len;               /* length in the end marker: usually 0 */
    qb_ext_list exts;                   /* owned: those that fit a sector */
    bool exts_left_out[QB_EXT_CLASSES]; /* the image has more of the class than fit: they can stay,
                                           but not be moved */
    char backing_name[QB_MAX_BACKING_NAME + 1]; /* "" when there is none */
    char backing_fmt[64];                       /* "" when the header names none */
    char *data_name;       /* owned: the external data file's; "" when the header names none */
    const uint8_t *sector; /* see qb_image_open_as; not owned */
    uint8_t *raw; /* owned: the first sector of the raw disk that the file is, zeros past its end;
                     the other members describe the image that it becomes (plan/raw.h).  NULL:
                     the file is an image */
    uint64_t raw_end;          /* the length of that disk, bytes */
    struct qb_err odd_bitmaps; /* see qb_image_open_to_mend; no code: nothing is wrong with them */
    struct qb_snapshot_table snapshots; /* empty until qb_image_read_snapshots */
};

/* Reads and decodes the header of `file`.  Refuses unknown incompatible features.  An image with
 * the corrupt bit can be opened: the caller decides what to do about it. */
int qb_image_open(struct qb_io *io, struct qb_file *file, struct qb_image *out, struct qb_err *err);

/* Like qb_image_open, for those who say what is wrong with an image, or mend it: a bitmaps
 * extension that cannot be is no failure, but `odd_bitmaps`, and the image has no bitmaps. */
int qb_image_open_to_mend(struct qb_io *io, struct qb_file *file, struct qb_image *out,
                          struct qb_err *err);

/* Like qb_image_open, with these 512 bytes in place of the file's first sector (NULL: its own): the
 * image as it would be if they were written.  They must outlive the image. */
int qb_image_open_as(struct qb_io *io, struct qb_file *file, const uint8_t *sector,
                     struct qb_image *out, struct qb_err *err);
void qb_image_close(struct qb_image *img); /* frees; the file stays open */

int qb_image_read_snapshots(struct qb_io *io, struct qb_image *img, struct qb_err *err);

/* Like qb_image_read_snapshots, but QB_E_MEMORY before more than `memory_limit` bytes are
 * allocated. */
int qb_image_read_snapshots_in(struct qb_io *io, struct qb_image *img, uint64_t memory_limit,
                               struct qb_err *err);

/* The memory that the open image holds in addition to the struct, bytes. */
size_t qb_image_memory(const struct qb_image *img);

/* Whether an L1 table at `offset` begins exactly at the file's end, so that it reads as zeros.
 * QEMU accepts such files. */
bool qb_image_l1_is_past_end(const struct qb_image *img, uint64_t offset);

/* Reads `entries` L1 entries at `offset` in host byte order.  *out is malloc'ed. */
int qb_image_read_l1(struct qb_io *io, const struct qb_image *img, uint64_t offset,
                     uint32_t entries, uint64_t **out, struct qb_err *err);

/* Called for one entry; returns 0 to continue. */
typedef int qb_entry_fn(void *arg, uint32_t index, uint64_t entry, struct qb_err *err);

/* A table of 64-bit entries: an L1 table, a bitmap table. */
struct qb_entry_scan {
    struct qb_io *io;
    const struct qb_image *img;
    uint64_t offset; /* in the file, bytes */
    uint32_t entries;
    const char *what; /* "an L1 table" */
    qb_entry_fn *fn;
    void *arg;
};

/* Calls fn for each entry that is not zero, in their order.  Holes are not read, and memory is
 * limited to one window, so the cost depends on what the file has allocated of the table, not on
 * the size that it claims.  What fn returns other than 0 ends the scan and is returned. */
int qb_image_scan_entries(const struct qb_entry_scan *s, struct qb_err *err);

/* Reads the refcount table, without its holes: one entry a refcount block, up to the last that is
 * not 0. */
int qb_image_read_reftable(struct qb_io *io, const struct qb_image *img, uint64_t **out, size_t *n,
                           struct qb_err *err);

/* The name of the compression type. */
static inline const char *qb_image_compression(const struct qb_header *h)
{
    return h->compression_type ? "zstd" : "zlib";
}

/* Fills *info with what `qemu-img info` prints. */
void qb_image_info(const struct qb_image *img, struct qb_info *info);

/* Whether the image has persistent bitmaps that the autoclear bit declares valid. */
bool qb_image_has_bitmaps(const struct qb_image *img, struct qb_disk_bitmaps_ext *ext);

#endif
