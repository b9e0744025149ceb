/* Reads a raw disk as the image that it becomes: the same bytes at the same offsets, and a header
 * that is not in the file yet.
 *
 * The image has no tables and no refcounts.  Its census is made from the file's extents: each
 * cluster that holds something is counted once, and the rule `convert` appends the tables that map
 * it to its own place.  So planning reads no byte of the disk but its first and last sectors. */
#ifndef QB_PLAN_RAW_H
#define QB_PLAN_RAW_H

#include "plan/plan.h"

/* Opens the raw disk that `rq` asks to convert, with the cluster size, the entries and the virtual
 * size that it asks for.  QB_E_REFUSED where the file looks like an image of any known format, for
 * a guest can write a header (the file may be an image already, too), where it is empty, and for
 * wishes that no new image fits. */
int qb_raw_open(struct qb_io *io, struct qb_file *file, const struct qb_request *rq,
                struct qb_image *out, struct qb_err *err);

/* The length of the file, bytes; of a raw disk without what an interrupted conversion left past its
 * end. */
static inline uint64_t qb_raw_length(const struct qb_image *img)
{
    return img->raw && !img->file->is_block_device ? img->raw_end : img->file->size;
}

/* In place of a census: counts the clusters that hold something, and in plan->census.end the end of
 * the disk. */
int qb_raw_census(struct qb_plan *plan, uint64_t memory_limit, struct qb_err *err);

/* The first byte of the disk that may lie in one block of the file system with what is appended
 * past its end, and so cannot be known to be a hole afterwards: a run that is resumed must plan
 * what the interrupted one did, so all from there on counts as data.  Past the disk's end: none. */
uint64_t qb_raw_shared_from(const struct qb_image *img);

/* Whether any of the guest clusters [first, end), the very first one of the disk excepted, holds
 * something. */
bool qb_raw_is_mapped(const struct qb_plan *plan, uint64_t first, uint64_t end);

#endif
