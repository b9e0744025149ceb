/* Plans and writes what an amend does to an image's external data file: the second file of a plan.
 *
 * A data file holds each guest cluster at its guest offset, so that nothing is ever appended to it:
 * what comes into use by growing is made to read zero, and lengthened, before the flip; what a
 * shrink leaves is cut off after it, in settle.  Nothing of it is referred to by refcounts. */
#ifndef QB_PLAN_DATA_FILE_H
#define QB_PLAN_DATA_FILE_H

#include "io/io.h"
#include "image/image.h"

struct qb_plan;

struct qb_plan_data {
    bool writes;                   /* the append epoch changes the file */
    bool cuts;                     /* the settle epoch does */
    bool unchecked;                /* another file, and the old one is not there to be compared */
    uint64_t old, appended, final; /* its length: as opened, once appended, once settled; bytes */
    struct qb_range zeros; /* bytes of it that must read zero: what growing takes into use */
    uint8_t *bytes; /* what the backing file showed in the last cluster; owned, or NULL, ... */
    uint64_t bytes_at, bytes_len; /* ... and where it goes */
    struct qb_range allowed;      /* what the write guard lets through in the append */
};

/* Opens and claims the data file that the target's header names, once: plan->in.data; for writing
 * where the plan writes to it, and the image is open for writing, too. */
int qb_data_open(struct qb_plan *plan, struct qb_err *err);
/* Opens and claims the data file of that name, for writing. */
int qb_data_claim(struct qb_io *io, const struct qb_file *image, const char *name,
                  bool without_locks, struct qb_file *out, struct qb_err *err);
bool qb_data_is_open(const struct qb_plan *plan);

/* data_proof.c: that the file of the new name holds what the old one does: the same file, or byte
 * for byte the same as far as the disk reaches.  QB_E_REFUSED with the first difference; notes
 * `unchecked` where there is no old file; fails where that cannot be found out. */
int qb_data_check_same(struct qb_plan *plan, struct qb_err *err);

/* data_proof.c: that the data file reads like the disk: as long, or up to whole clusters of that or
 * of `size_too`, and zero wherever the active layer has no data; that it has its data at their
 * guest offsets, a census finds.  QB_E_REFUSED. */
int qb_data_prove_raw(struct qb_plan *plan, struct qb_err *err);

int qb_data_is_raw(struct qb_io *io, const struct qb_image *img, struct qb_file *data,
                   uint64_t size_too, struct qb_err *err);

/* data_proof.c: *differs is the first byte of the disk's `size` in which two files differ, zeros
 * where one ends before that; `size` where none is. */
int qb_data_compare(struct qb_io *io, struct qb_file *x, struct qb_file *y, uint64_t size,
                    uint64_t *differs, struct qb_err *err);

/* data_proof.c: the part of qb_data_prove_raw that concerns the file's end: as long as the disk, or
 * up to whole clusters, and zero past the disk.  A file that takes the place of a raw one has to be
 * like this, too. */
int qb_data_check_length(struct qb_plan *plan, struct qb_err *err);

/* data_proof.c: *at is the first byte of the range that is not zero; r.end where all are. */
int qb_data_first_nonzero(struct qb_io *io, struct qb_file *file, struct qb_range r, uint64_t *at,
                          struct qb_err *err);

/* Once the target is final: sets plan->data.  Refuses what the file, or its file system, cannot
 * hold. */
int qb_data_plan(struct qb_plan *plan, struct qb_err *err);

/* That the path of a file that the plan changes still leads to it, and nobody else changed its
 * length: else QB_E_CHANGED. */
int qb_data_check_ours(const struct qb_plan *plan, struct qb_err *err);

/* The append epoch, before the image's own.  A failure has put the length back. */
int qb_data_append(struct qb_io *io, struct qb_plan *plan, struct qb_err *err);

/* Makes durable what others wrote to a file to which a header is going to lead: a copy that was
 * compared may be in the page cache alone. */
int qb_data_sync(struct qb_io *io, struct qb_file *file, struct qb_err *err);

/* After a failure before the flip: the length as it was. */
void qb_data_restore(struct qb_io *io, struct qb_plan *plan);

/* The settle epoch. */
void qb_data_settle(struct qb_io *io, struct qb_plan *plan);

/* Once committed: what came into use reads zero.  QB_E_VERIFY when it does not. */
int qb_data_verify(struct qb_io *io, const struct qb_plan *plan, struct qb_err *err);

#endif
