/* lazy_refcounts: a bit of the header. */
#include "plan/rule.h"

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    struct qb_header *h = &t->header;

    if (!qb_asked(rq, QB_KEY_LAZY_REFCOUNTS))
        return 0;
    if (rq->lazy_refcounts && h->version == 2)
        return QB_REFUSE("lazy_refcounts needs compat=1.1");
    h->compatible &= ~QB_COMPAT_LAZY_REFCOUNTS;
    if (rq->lazy_refcounts)
        h->compatible |= QB_COMPAT_LAZY_REFCOUNTS;
    return ((h->compatible ^ img->header.compatible) & QB_COMPAT_LAZY_REFCOUNTS) != 0;
}

const struct qb_rule qb_rule_lazy_refcounts = {.name = "lazy_refcounts", .resolve = resolve};
