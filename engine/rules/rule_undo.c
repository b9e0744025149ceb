/* keep_undo: keeps everything counted that the old image needs (release.c, rule_leaks.c), and
 * refuses what no undo could reverse. */
#include "plan/rule.h"

/* An autoclear bit means that no program without support for the feature has written the image
 * since.  A guest may write the amended image, in clusters that both images map, so no undo could
 * set the bit again truthfully.  Whether a data file is raw still, it can prove (undo_data.c). */
static int judge(const struct qb_image *img, const struct qb_request *rq, const struct qb_target *t,
                 struct qb_err *err)
{
    uint64_t lost =
        img->header.autoclear & ~t->header.autoclear & ~(uint64_t)QB_AUTOCLEAR_DATA_FILE_RAW;

    if (rq->keep_undo && img->file->is_block_device)
        return QB_CANNOT(
            "keep_undo: a block device has no modification time and no tail that could be cut");
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

const struct qb_rule qb_rule_undo = {.name = "keep_undo", .judge = judge};
