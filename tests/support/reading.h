/* What an image holds, found out without any of the engine's code: the guest's bytes of the active
 * layer and of every snapshot, sector by sector, and a count of every reference.  Written from the
 * specification, slow and plain, so that the engine's ways of looking are not judged by
 * themselves. */
#ifndef QB_TESTS_READING_H
#define QB_TESTS_READING_H

#include <stdbool.h>
#include <stdint.h>

#include "images.h"
#include "reading_bitmaps.h"

#define READING_LAYERS 13

struct reading_layer {
    uint64_t disk_size, vm_size; /* bytes */
    uint64_t *disk;              /* a fingerprint a 512-byte sector; 0: it reads zero */
    uint64_t *vm;                /* likewise, the VM state (snapshots only) */
    uint64_t label;              /* of the snapshot's name, dates and sizes */
    char name[32];               /* of the snapshot */
    uint64_t date;               /* seconds since 1970 */
};

struct reading {
    char wrong[160]; /* why it cannot be read; "": it was */
    unsigned version, refcount_bits, n_layers;
    uint64_t size, cluster_size;
    uint64_t incompatible, compatible, autoclear; /* without what `extended_l2` says */
    bool extended_l2;
    char backing_file[1024], backing_fmt[64];
    char data_file[1024]; /* the name of the external data file, ... */
    bool data_raw;        /* ... whether the header says that it reads like the disk, ... */
    bool raw_shows;       /* ... and whether it does, */
    uint64_t data_size;   /* ... and its length, bytes */
    uint64_t unknown_ext; /* a fingerprint of the extensions that nobody knows */
    struct reading_bitmaps bitmaps;              /* the persistent ones that are valid */
    struct reading_layer layers[READING_LAYERS]; /* 0 is the active one */

    /* One past the last guest cluster of the active disk that has no host cluster. */
    uint64_t lacking_end;

    /* The count. */
    uint64_t corruptions; /* too low refcounts, wrong COPIED flags, overlaps, misplaced things */
    uint64_t leaks;       /* too high refcounts, also of clusters behind the file's end */
    uint64_t full;        /* clusters with as many references as a refcount can say: no leaks */
    uint64_t behind;      /* of these, those behind the file's end */
    uint64_t end;         /* first byte behind the last cluster referred to or counted */
    char damage[160];     /* the first corruption or leak in words */
    uint8_t *free;       /* one a cluster: 1 where a whole one is neither counted nor referred to */
    uint64_t n_clusters; /* of the file; 0 where it cannot be read */
};

/* `backing` stands in for the name that the header gives (NULL: the header's own). */
void reading_take(const uint8_t *bytes, uint64_t size, const char *backing, struct reading *out);
/* With its external data file, if there is one. */
void reading_take_image(const struct image_bytes *image, const char *backing, struct reading *out);
void reading_free(struct reading *r);

/* The active layer as it shall read once the disk has `size` bytes: cut, or zeros behind. */
void reading_resize(struct reading *r, uint64_t size);

/* The snapshot of layer i is deleted; those behind it move up. */
void reading_delete(struct reading *r, unsigned i);

/* "" when both hold the same for every guest, else what differs. */
const char *reading_differs(const struct reading *a, const struct reading *b);

/* From now on the backing file of this name reads so (and zeros behind).  The bytes must live as
 * long as the readings.  A name that nobody announced reads as bytes that no other file has,
 * without an end. */
void reading_backing(const char *name, const uint8_t *bytes, uint64_t size);
void reading_backing_image(const char *name, const struct reading *r); /* its active layer */
void reading_forget_backings(void);

/* Bytes of the backing file of this name: 0 for "", and UINT64_MAX where nobody announced it. */
uint64_t reading_backing_size(const char *name);

/* The fingerprint of guest sector `sector` of it, of which `len` bytes belong to the disk. */
uint64_t reading_backing_sector(const char *name, uint64_t sector, uint64_t len);

/* Whether the compressed bytes are one cluster, which `out` gets. */
bool reading_decompress(bool zstd, const uint8_t *in, uint64_t len, uint8_t *out, uint64_t cluster);

/* A fingerprint of n bytes; 0 when all are zero. */
uint64_t reading_print(const uint8_t *bytes, uint64_t n);

#endif
