/* What keep_undo asks of a plan, beside release.c: that leaks stay counted, that an undo can be
 * truthful, and all of the undo's proof but what the append computes. */
#include "amend/plan.h"
#include "qcow2/chain.h"
#include "base/crc32.h"

/* An autoclear bit says that nobody who does not know the feature has written the image since.  A
 * guest may write the amended image, in clusters that both images map, so no undo could set the bit
 * again truthfully. */
int qb_keep_check(const struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_header *old = &plan->in.img->header, *h = &plan->target.header;

    if (!plan->in.rq->keep_undo || !(old->autoclear & ~h->autoclear))
        return 0;
    if (plan->target.drop_bitmaps)
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "keep_undo: an undo cannot bring back persistent bitmaps, which would miss "
                       "what guests write in the meantime");
    return qb_fail(err, QB_E_UNSUPPORTED, offsetof(struct qb_disk_header, autoclear),
                   "keep_undo: an undo cannot set unknown autoclear features again (0x%llx)",
                   (unsigned long long)(old->autoclear & ~h->autoclear));
}

/* The digest of the header's bytes past its sector: the open image keeps none of them.  They must
 * be those that it was opened with. */
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

/* What a shrink cuts off within the last cluster, the old image is to show again. */
static int note_last_cluster(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    uint64_t end = plan->target.header.size, used = end % img->geom.cluster_size, entry, at;

    if (end >= img->header.size || used == 0)
        return 0;
    if (qb_image_lookup(plan->in.io, img, end - used, &entry, &at, err) < 0)
        return -1;
    plan->proof.cuts_cluster = true;
    plan->proof.last_entry = entry & ~QB_ENTRY_COPIED;
    return 0;
}

/* All of the proof but what the append computes. */
int qb_keep_plan_proof(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    struct qb_proof *p = &plan->proof;

    if (!plan->in.rq->keep_undo)
        return 0;
    *p = (struct qb_proof){.valid = true, .dev = img->file->dev, .ino = img->file->ino};
    if (plan->rewrites) {
        p->base = plan->place.base;
        p->zero_base = plan->zeros.base;
        p->end = plan->zeros.base + plan->zeros.len;
    }
    if (plan->sector.name_at) {
        p->name_at = plan->sector.name_at;
        p->name_len = plan->sector.name_len;
        p->name = qb_digest_of(plan->sector.name, p->name_len);
    }
    return note_last_cluster(plan, err) < 0 ? -1 : digest_head(plan, err);
}
