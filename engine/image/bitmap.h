/* The bitmap directory ("Bitmaps"), in memory: for whatever changes bitmaps.  Who only counts what
 * they occupy reads it in pieces (check/bitmaps.c). */
#ifndef QB_IMAGE_BITMAP_H
#define QB_IMAGE_BITMAP_H

#include "image/image.h"

struct qb_bitmap {
    uint64_t table_offset;    /* bytes */
    uint32_t table_size;      /* entries */
    uint32_t flags;           /* QB_BITMAP_IN_USE and so on */
    uint8_t granularity_bits; /* one bit stands for 1 << so many bytes of the disk */
    uint32_t extra_len;       /* bytes of extra data */
    const uint8_t *extra;     /* in the directory's buffer, or whatever the maker has */
    const char *name;         /* NUL-terminated, without a NUL inside, 1 to 1023 bytes */
    bool odd;                 /* QEMU would not open the image with it */
};

struct qb_bitmaps {
    QB_VEC(struct qb_bitmap) list; /* in the directory's order */
    uint8_t *bytes;                /* owned: the directory as the file has it */
    uint64_t len;                  /* of it, bytes */
    char *names;                   /* owned: where the names point */
    bool broken;                   /* where one entry ends and the next begins cannot be told: the
                                      list is empty */
    struct qb_err odd; /* the first that QEMU would not open the image with; code 0: none */
};

/* Reads the directory of an image that has bitmaps (qb_image_has_bitmaps), in at most
 * `memory_limit` bytes, and holds each entry against what QEMU demands of it: QB_E_CORRUPT where
 * QEMU would not open the image, QB_E_UNSUPPORTED for extra data that nobody may touch who does not
 * know them, and QB_E_MEMORY at the limit.  The tables are not read, and where they lie is not
 * looked at.  Free it in either case. */
int qb_bitmaps_read(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                    struct qb_bitmaps *out, struct qb_err *err);
void qb_bitmaps_free(struct qb_bitmaps *b);

/* The same, but what would be QB_E_CORRUPT is in out->odd, and marked where it is of one bitmap. */
int qb_bitmaps_read_any(struct qb_io *io, const struct qb_image *img, uint64_t memory_limit,
                        struct qb_bitmaps *out, struct qb_err *err);

/* The bytes of memory that it holds beside itself. */
uint64_t qb_bitmaps_memory(const struct qb_bitmaps *b);

/* The entries that the table of a bitmap has: for a disk of `size` bytes. */
uint64_t qb_bitmap_table_entries(const struct qb_geom *g, uint64_t size, unsigned granularity_bits);

/* Bytes of an entry of the directory. */
uint64_t qb_bitmap_entry_len(const struct qb_bitmap *b);

/* Writes one entry at `at`, which has qb_bitmap_entry_len bytes, padding included. */
void qb_bitmap_encode(const struct qb_bitmap *b, uint8_t *at);

#endif
