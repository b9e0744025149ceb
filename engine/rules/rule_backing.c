/* backing_file, backing_fmt: sets the name and the format in the header, like `rebase -u`: what
 * guests read through them is compared elsewhere (qb_amend_check_backing). */
#include <string.h>

#include "plan/plan.h"
#include "plan/rule.h"

static int check_names(const struct qb_image *img, const struct qb_target *t, struct qb_err *err)
{
    const char *name = t->backing_name, *fmt = t->backing_fmt;

    if (!name[0] && fmt[0])
        return QB_REFUSE("backing_fmt=%s without a backing file", fmt);
    if (strlen(name) > QB_MAX_BACKING_NAME)
        return QB_REFUSE("the backing file's name is longer than %u bytes", QB_MAX_BACKING_NAME);
    if (strlen(fmt) > QB_MAX_BACKING_FMT && strcmp(fmt, img->backing_fmt) != 0)
        return QB_REFUSE("the backing format's name is longer than %u bytes", QB_MAX_BACKING_FMT);
    if (name[0] && (t->header.autoclear & QB_AUTOCLEAR_DATA_FILE_RAW))
        return QB_REFUSE("an image with a raw external data file can have no backing file");
    return 0;
}

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    bool fmt_changes;

    if (qb_asked(rq, QB_KEY_BACKING_FILE))
        t->backing_name = qb_text_of(rq->backing_file);
    if (qb_asked(rq, QB_KEY_BACKING_FMT))
        t->backing_fmt = qb_text_of(rq->backing_fmt);
    else if (!t->backing_name[0])
        t->backing_fmt = "";
    if (check_names(img, t, err) < 0)
        return -1;
    t->name_changes = strcmp(t->backing_name, img->backing_name) != 0;
    fmt_changes = strcmp(t->backing_fmt, img->backing_fmt) != 0;
    t->exts_change |= fmt_changes;
    return t->name_changes || fmt_changes;
}

static int judge(const struct qb_image *img, const struct qb_request *rq, const struct qb_target *t,
                 struct qb_err *err)
{
    (void)rq;
    if (t->name_changes && t->backing_name[0] &&
        qb_chain_names(img->file->opener, img->file->path, t->backing_name, img->file))
        return qb_fail(err, QB_E_BACKING_LOOP, QB_NOWHERE,
                       "the backing file %s is the image itself", t->backing_name);
    return 0;
}

static void report(const struct qb_plan *plan, struct qb_result *result)
{
    result->backing_unchecked = plan->target.name_changes;
}

const struct qb_rule qb_rule_backing = {
    .name = "backing_file",
    .resolve = resolve,
    .judge = judge,
    .report = report,
};
