/* refcount_bits: sets the width in the header; the layout rewrites all refcount blocks with it. */
#include "plan/rule.h"

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    struct qb_header *h = &t->header;
    unsigned order = 0;

    if (qb_asked(rq, QB_KEY_REFCOUNT_BITS)) {
        while (order < 6 && 1ull << order < rq->refcount_bits)
            order++;
        if (1ull << order != rq->refcount_bits)
            return QB_REFUSE("refcount_bits=%llu must be a power of two, 1 to 64",
                             (unsigned long long)rq->refcount_bits);
        h->refcount_order = order;
    }
    if (h->version == 2 && h->refcount_order != 4)
        return QB_REFUSE("compat=0.10 needs refcounts of 16 bits, not %u; add refcount_bits=16",
                         1u << h->refcount_order);
    if (!qb_target_new_width(img, t))
        return 0;
    t->reach = QB_REACH_TABLES;
    return 1;
}

const struct qb_rule qb_rule_refcount_bits = {.name = "refcount_bits", .resolve = resolve};
