/* data_file, data_file_raw: an image keeps its external data file. */
#include <string.h>

#include "amend/rule.h"

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    const struct qb_ext *e = qb_ext_find(&img->exts, QB_EXT_DATA_FILE);
    const char *want = qb_text_of(rq->data_file);
    bool same = e ? strlen(want) == e->len && memcmp(want, e->data, e->len) == 0 : !want[0];

    (void)t;
    if (qb_asked(rq, QB_KEY_DATA_FILE) && !same)
        return QB_CANNOT("changing data_file is not supported yet");
    if (qb_asked(rq, QB_KEY_DATA_FILE_RAW) &&
        rq->data_file_raw != !!(img->header.autoclear & QB_AUTOCLEAR_DATA_FILE_RAW))
        return QB_REFUSE("data_file_raw cannot be changed by an amend");
    return 0;
}

static int judge(const struct qb_image *img, const struct qb_request *rq, const struct qb_target *t,
                 struct qb_err *err)
{
    (void)t;
    if (rq->verify == QB_VERIFY_CONTENT && img->geom.external_data)
        return QB_CANNOT("verify: content does not reach into an external data file");
    return 0;
}

const struct qb_rule qb_rule_data_file = {.name = "data_file", .resolve = resolve, .judge = judge};
