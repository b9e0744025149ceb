/* keep_undo: keeps everything counted that the old image needs (release.c, rule_leaks.c), and
 * refuses what no undo could reverse. */
#include <string.h>

#include "plan/plan.h"
#include "plan/rule.h"

/* An autoclear bit means that no program without support for the feature has written the image
 * since.  A guest may write the amended image, in clusters that both images map, so no undo could
 * set the bit again truthfully.  Whether a data file is raw still, it can prove (undo_data.c). */
static int judge(const struct qb_image *img, const struct qb_request *rq, const struct qb_target *t,
                 struct qb_err *err)
{
    uint64_t lost =
        img->header.autoclear & ~t->header.autoclear & ~(uint64_t)QB_AUTOCLEAR_DATA_FILE_RAW;

    if (!rq->keep_undo || !lost)
        return 0;
    if (t->bitmaps_dropped)
        return QB_CANNOT(
            "keep_undo: an undo cannot bring back persistent bitmaps, which would miss "
            "what guests write in the meantime");
    return qb_fail(err, QB_E_UNSUPPORTED, offsetof(struct qb_disk_header, autoclear),
                   "keep_undo: an undo cannot set unknown autoclear features again (0x%llx)",
                   (unsigned long long)lost);
}

/* Where the old backing file shows, a new cluster of zeros may be one that a guest has written
 * since: an undo would hide that. */
static int probe(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    const struct qb_request *rq = plan->in.rq;
    struct qb_chain old = {0};
    uint64_t shown;

    if (!rq->keep_undo || !plan->target.name_changes || !img->backing_name[0] ||
        plan->geom.l2_entry_size == 16 || !qb_asked(rq, QB_KEY_PREALLOCATION) ||
        strcmp(qb_text_of(rq->preallocation), "off") == 0)
        return 0;
    if (qb_below_open(plan, err) < 0 ||
        qb_chain_open(
            plan->in.io,
            &(struct qb_chain_top){img->file->path, img->file, img->backing_name, img->backing_fmt},
            QB_CHAIN_NEAREST | QB_CHAIN_ASSUME, &old, err) < 0)
        return -1;
    shown = qb_min(qb_chain_size(&old), QB_MIN(img->header.size, plan->target.header.size));
    qb_chain_close(&old);
    if (shown <= plan->below.size)
        return 0;
    return QB_CANNOT("keep_undo: preallocation past the end of the new backing file, where the old "
                     "one shows: an undo would hide zeros that a guest writes there; amend one of "
                     "them first");
}

const struct qb_rule qb_rule_undo = {.name = "keep_undo", .judge = judge, .probe = probe};
