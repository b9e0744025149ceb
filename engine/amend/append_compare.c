/* Proves that what an interrupted conversion of a raw disk left past its end is what it wrote
 * there, and nothing that a guest wrote since: the stretch is computed as for the append, and
 * compared. */
#include "amend/append_parts.h"

#include <string.h>

#include "base/own.h"

static int refuse(const struct qb_plan *plan, uint64_t at, struct qb_err *err)
{
    return qb_fail(err, QB_E_REFUSED, at,
                   "an interrupted conversion made the raw disk of %llu bytes longer, and what is "
                   "there now is not only what it wrote: if nobody used the disk since, cut the "
                   "file to that length",
                   (unsigned long long)plan->in.img->raw_end);
}

int qb_writer_compare(const struct qb_writer *w, uint64_t offset, const uint8_t *bytes,
                      uint64_t len, struct qb_err *err)
{
    uint64_t end = QB_MIN(offset + len, w->file->size);
    QB_AUTO(qb_buf) uint8_t *found = NULL;

    if (end <= offset)
        return 0;
    len = end - offset;
    found = malloc(len);
    if (!found)
        return qb_fail_memory(err);
    if (qb_io_read(w->io, w->file, offset, found, len, "past the disk's end", err) < 0)
        return -1;
    for (uint64_t at = 0; at < len; at += QB_SECTOR) {
        uint64_t n = QB_MIN((uint64_t)QB_SECTOR, len - at);

        if (memcmp(found + at, bytes + at, n) != 0 && !qb_all_zero(found + at, n))
            return qb_fail(err, QB_E_REFUSED, offset + at, "not what was written");
    }
    return 0;
}

/* The rest of the disk's last cluster, before the stretch. */
static int compare_rest(struct qb_io *io, const struct qb_plan *plan, struct qb_file *file,
                        struct qb_err *err)
{
    uint64_t first = plan->in.img->raw_end, end = QB_MIN(plan->place.base, file->size);
    QB_AUTO(qb_buf) uint8_t *found = end > first ? malloc(end - first) : NULL;

    if (end <= first)
        return 0;
    if (!found)
        return qb_fail_memory(err);
    if (qb_io_read(io, file, first, found, end - first, "past the disk's end", err) < 0)
        return -1;
    return qb_all_zero(found, end - first)
               ? 0
               : qb_fail(err, QB_E_REFUSED, first, "not what was written");
}

static int compare_stretch(struct qb_io *io, struct qb_plan *plan, struct qb_file *file,
                           struct qb_err *err)
{
    struct qb_writer w = {.io = io, .file = file, .compares = true};

    return qb_append_stretch(io, plan, &w, err);
}

int qb_plan_compare_tail(struct qb_io *io, struct qb_plan *plan, struct qb_file *file,
                         struct qb_err *err)
{
    if (!plan->in.img->raw || file->is_block_device || file->size <= plan->in.img->raw_end)
        return 0;
    if (file->size > plan->size.appended)
        return refuse(plan, plan->size.appended, err);
    if (compare_rest(io, plan, file, err) < 0 || compare_stretch(io, plan, file, err) < 0)
        return err->code == QB_E_REFUSED ? refuse(plan, err->offset, err) : -1;
    return 0;
}
