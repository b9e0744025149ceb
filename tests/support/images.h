/* Small qcow2 images, made in memory without QEMU, of every kind that an amend may meet.
 *
 * An image is a shape (the header's facts) and a script, which plays what a guest and its admin did
 * to it.  Tables are copied on write and clusters are counted as QEMU does it; the refcounts are
 * reckoned from what is there at the end.  The script's words, each `letter[number]`:
 *
 *     @n   go on at guest cluster n              V    ... at the first cluster of the VM state
 *     d    data of its own, n clusters           c    compressed data
 *     o    the same, but only zeros (no data file)
 *     z    zero without a host cluster           Z    zero that keeps (or gets) its host cluster
 *     p    data in some subclusters, zeros in    i    a host cluster, but nothing that is used of
 * it others, nothing in the rest (p, i: extended_l2) .    unallocated                           S
 * a snapshot Rn   the disk is n bytes from now on     An   snapshot n (from 1) is applied Xn
 * snapshot n is deleted; those behind it move up L    n host clusters leak                  H    n
 * host clusters stay free
 */
#ifndef QB_TESTS_IMAGES_H
#define QB_TESTS_IMAGES_H

#include <stdbool.h>
#include <stdint.h>

#define IMAGE_NO_EXTRA UINT32_MAX

struct image_shape {
    unsigned version; /* 2 or 3 */
    unsigned cluster_bits;
    unsigned refcount_order;
    uint64_t size;            /* virtual, any number of bytes */
    uint32_t l1_spare;        /* L1 entries beyond those the disk needs */
    const char *backing_file; /* NULL: none */
    const char *backing_fmt;
    bool extended_l2;    /* clusters of 16 KiB or more */
    bool feature_names;  /* QEMU's table of 384 bytes: a backing name then lies behind byte 512 */
    bool lazy_refcounts; /* the flag */
    uint32_t header_length;  /* 0: 112, as QEMU */
    uint32_t unknown_ext;    /* bytes of an extension that nobody knows; 0: there is none */
    unsigned bitmaps;        /* persistent dirty bitmaps; version 3 and a disk only */
    unsigned bitmaps_in_use; /* of these, a bit each: those that a writer left in use */
    const char *data_file;   /* NULL: none; the name of the external data file, with which there are
                                no   snapshots, VM state and compressed clusters */
    bool data_raw;       /* which reads like the disk: needs no backing_file, and junk nowhere */
    bool data_junk;      /* it holds something wherever the guest has nothing */
    bool data_tail_junk; /* ... past the disk's end at least */
    uint32_t data_tail;  /* bytes of it past the disk's end */
    uint32_t data_cut;   /* bytes that it lacks before the disk's end: these read zero */
    uint32_t snapshot_extra; /* bytes of extra data in snapshot entries: 8, 16 or 24, or
                                IMAGE_NO_EXTRA; 0: what QEMU writes, 24 or (version 2) none */

    /* What goes wrong after the image was made. */
    bool wrong_counts;   /* like dirty, without the bit */
    bool marked;         /* the corrupt bit */
    bool dirty;          /* the dirty bit, and refcounts and COPIED flags that are wrong */
    uint32_t tail_bytes; /* rubbish behind the last cluster */
    uint32_t cut_bytes;  /* the file's last cluster lacks so many bytes */
    bool counts_behind;  /* refcounts for clusters behind the end of the file */
    bool lost_snapshots; /* the header does not name them: what only they refer to leaks */
};

struct image_bytes {
    uint8_t *bytes; /* owned */
    uint64_t size;
    bool damaged;  /* in a way that `repair` mends, and that no dirty bit says */
    bool reserved; /* the file keeps its allocation (io/reserve.h) */
    bool device;   /* it is a block device */
    bool holes;    /* blocks of zeros are holes, where the simulator asks (sim/holes.c) */
    uint8_t *data; /* its external data file; owned; NULL: it has none */
    uint64_t data_size;
};

/* Aborts on a script that makes no sense. */
struct image_bytes image_make(const struct image_shape *shape, const char *script);
struct image_bytes image_bytes_copy(const struct image_bytes *b);
void image_bytes_free(struct image_bytes *b);

/* L1 entries that a disk of this size needs, and the guest bytes that one covers. */
uint64_t image_l1_span(const struct image_shape *shape);

#endif
