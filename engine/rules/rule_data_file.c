/* data_file, data_file_raw: the name of the external data file of an image that has one, and
 * whether that file can be read like the disk.  A file of another name must hold the same; that it
 * is raw is said only once it was proved (data_proof.c). */
#include <string.h>
#include <sys/stat.h>

#include "plan/plan.h"
#include "plan/rule.h"
#include "opener/look.h"
#include "chain/data_name.h"

static bool is_raw(const struct qb_header *h)
{
    return h->autoclear & QB_AUTOCLEAR_DATA_FILE_RAW;
}

static int rename_file(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                       struct qb_err *err)
{
    const char *want = qb_text_of(rq->data_file);

    if (!qb_asked(rq, QB_KEY_DATA_FILE) || strcmp(want, img->data_name) == 0)
        return 0;
    if (!img->geom.external_data)
        return QB_REFUSE(
            "data_file: the image has no external data file, and an amend cannot give it "
            "one");
    if (!want[0])
        return QB_REFUSE("data_file: an image with an external data file has to name it");
    t->data_name = want;
    t->data_name_changes = t->exts_change = true;
    return 1;
}

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    int r = rename_file(img, rq, t, err);

    if (r < 0 || !qb_asked(rq, QB_KEY_DATA_FILE_RAW) || rq->data_file_raw == is_raw(&img->header))
        return r;
    if (!img->geom.external_data)
        return QB_REFUSE("data_file_raw: the image has no external data file");
    t->header.autoclear ^= QB_AUTOCLEAR_DATA_FILE_RAW;
    return 1;
}

static int judge_resize(const struct qb_image *img, const struct qb_request *rq,
                        const struct qb_target *t, struct qb_err *err)
{
    if (img->header.nb_snapshots)
        return QB_CANNOT(
            "resizing an image with an external data file and snapshots, whose data the "
            "file cannot hold apart");
    if (rq->keep_undo && t->header.size < img->header.size)
        return QB_CANNOT(
            "keep_undo: an undo cannot bring back what a shrink cuts off an external data "
            "file");
    return 0;
}

/* Then what a guest writes would show to the other overlays of that file, and a new size would zero
 * or cut it. */
static bool is_backing_file(const struct qb_image *img, const struct qb_target *t)
{
    QB_AUTO(qb_buf) char *path = NULL;
    struct qb_file data = {0};
    struct stat st;

    if (!t->backing_name[0] || img->file->fd < 0 ||
        qb_data_locate(img->file->opener, img->file->path, t->data_name, &path, NULL) < 0 ||
        qb_look(img->file->opener, path, &st) < 0)
        return false;
    data.dev = st.st_dev;
    data.ino = st.st_ino;
    return qb_chain_names(img->file->opener, img->file->path, t->backing_name, &data);
}

static int judge(const struct qb_image *img, const struct qb_request *rq, const struct qb_target *t,
                 struct qb_err *err)
{
    if (!img->geom.external_data)
        return 0;
    if (is_raw(&t->header) && !is_raw(&img->header) && img->header.crypt_method)
        return QB_REFUSE("data_file_raw: the data file of an encrypted image is not its disk");
    if (rq->keep_undo && t->data_name_changes && !img->data_name[0])
        return QB_CANNOT(
            "keep_undo: the old header names no external data file, so that an undo could not tell "
            "which one has what is written to the new one; backup: reflink keeps the image file");
    if ((t->data_name_changes || t->name_changes || qb_target_resizes(img, t)) &&
        is_backing_file(img, t))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the external data file %.200s is the backing file, too", t->data_name);
    return qb_target_resizes(img, t) ? judge_resize(img, rq, t, err) : 0;
}

/* Whether a new size zeroes or cuts bytes that are there: those of a cluster that an entry has at
 * another place than its guest offset may be among them. */
static bool clears_bytes(const struct qb_plan *plan)
{
    const struct qb_image *img = plan->in.img;
    uint64_t kept = QB_MIN(img->header.size, plan->target.header.size);

    return qb_target_resizes(img, &plan->target) && plan->in.data->size > kept;
}

static int probe(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    const struct qb_target *t = &plan->target;
    bool proves = is_raw(&t->header) && !is_raw(&img->header);

    if (!img->geom.external_data || !(t->data_name_changes || proves || qb_target_resizes(img, t) ||
                                      plan->in.rq->verify == QB_VERIFY_CONTENT))
        return 0;
    if (qb_data_open(plan, err) < 0 || (t->data_name_changes && qb_data_check_same(plan, err) < 0))
        return -1;
    if ((proves || clears_bytes(plan)) && plan->target.reach == QB_REACH_HEADER)
        plan->target.reach = QB_REACH_LOOK; /* a census holds all entries against their places */
    if (!proves)
        return is_raw(&t->header) && t->data_name_changes ? qb_data_check_length(plan, err) : 0;
    return qb_data_prove_raw(plan, err);
}

static void report(const struct qb_plan *plan, struct qb_result *result)
{
    result->data_file_unchecked = plan->data.unchecked;
}

static int verify(struct qb_io *io, const struct qb_plan *plan, const struct qb_image *now,
                  struct qb_err *err)
{
    (void)now;
    return qb_data_verify(io, plan, err);
}

const struct qb_rule qb_rule_data_file = {
    .name = "data_file",
    .resolve = resolve,
    .judge = judge,
    .probe = probe,
    .verify = verify,
    .report = report,
};
