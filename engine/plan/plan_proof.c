/* Fills an undo's proof, except for what the append computes. */
#include "plan/plan.h"
#include "base/crc32.h"
#include "chain/chain.h"

/* The digest of the header's bytes past its sector, which the open image does not keep.  They must
 * equal those that it was opened with. */
static int digest_head(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    struct qb_proof *p = &plan->proof;
    uint64_t len = img->head_used - QB_SECTOR;
    QB_AUTO(qb_buf) uint8_t *bytes = NULL;

    if (len == 0)
        return 0;
    bytes = malloc(len);
    if (!bytes)
        return qb_fail_memory(err);
    if (qb_io_read(plan->in.io, img->file, QB_SECTOR, bytes, len, "the header's extensions", err) <
        0)
        return -1;
    if (qb_crc32(0, bytes, len) != img->head_crc)
        return qb_fail(err, QB_E_CHANGED, QB_SECTOR, "something else wrote the image's header");
    p->head_len = img->head_used;
    p->head = qb_digest_of(bytes, len);
    return 0;
}

/* What a shrink cuts off within the last cluster must be visible again after an undo. */
static int note_last_cluster(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    uint64_t end = plan->target.header.size, used = end % img->geom.cluster_size;
    struct qb_l2_place last;

    if (end >= img->header.size || used == 0)
        return 0;
    if (qb_image_find(plan->in.io, img, end - used, &last, err) < 0)
        return -1;
    plan->proof.cuts_cluster = true;
    plan->proof.last_entry = last.entry & ~QB_ENTRY_COPIED;
    plan->proof.last_bitmap = img->geom.l2_entry_size == 16 ? last.bitmap : 0;
    return 0;
}

static int add_place(struct qb_ranges *list, uint64_t first, uint64_t len, struct qb_err *err)
{
    struct qb_range *last = list->n ? &list->items[list->n - 1] : NULL;

    if (last && last->end == first) {
        last->end += len;
        return 0;
    }
    return qb_vec_push(list, (struct qb_range){first, first + len}) ? 0 : qb_fail_memory(err);
}

/* Where new clusters lie inside the old image, the proof lists them all. */
static int list_places(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_proof *p = &plan->proof;

    if (!plan->place.room.n)
        return 0;
    qb_vec_each (s, &plan->place.steps)
        if (s->len && add_place(&p->written, s->offset, s->len, err) < 0)
            return -1;
    qb_vec_each (e, &plan->zeros.extents)
        if (add_place(&p->zeroed, e->offset, e->n * plan->geom.cluster_size, err) < 0)
            return -1;
    return qb_proof_sort(p, err);
}

int qb_plan_proof(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    struct qb_proof *p = &plan->proof;

    if (!plan->in.rq->keep_undo)
        return 0;
    *p = (struct qb_proof){.valid = true,
                           .mended = plan->mended,
                           .dev = img->file->dev,
                           .ino = img->file->ino,
                           .is_device = img->file->is_block_device};
    if (plan->rewrites) {
        p->base = plan->place.base;
        p->zero_base = plan->place.zero_base;
        p->end = plan->place.end;
    }
    if (list_places(plan, err) < 0)
        return -1;
    if (plan->sector.name_at) {
        p->name_at = plan->sector.name_at;
        p->name_len = plan->sector.name_len;
        p->name = qb_digest_of(plan->sector.name, p->name_len);
    }
    return note_last_cluster(plan, err) < 0 ? -1 : digest_head(plan, err);
}
