#include "plan/proof.h"

#include <string.h>

void qb_proof_free(struct qb_proof *p)
{
    qb_vec_free(&p->written);
    qb_vec_free(&p->zeroed);
    qb_vec_free(&p->sorted);
}

int qb_proof_copy(const struct qb_proof *p, struct qb_proof *out, struct qb_err *err)
{
    bool ok = true;

    *out = *p;
    memset(&out->written, 0, sizeof(out->written));
    memset(&out->zeroed, 0, sizeof(out->zeroed));
    memset(&out->sorted, 0, sizeof(out->sorted));
    for (size_t i = 0; ok && i < p->written.n; i++)
        ok = qb_vec_push(&out->written, p->written.items[i]);
    for (size_t i = 0; ok && i < p->zeroed.n; i++)
        ok = qb_vec_push(&out->zeroed, p->zeroed.items[i]);
    if (ok)
        return qb_proof_sort(out, err);
    qb_proof_free(out);
    return qb_fail_memory(err);
}

/* Whether the ranges ascend, and are apart. */
static bool are_apart(const struct qb_range *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (r[i].first >= r[i].end || (i && r[i - 1].end > r[i].first))
            return false;
    return true;
}

int qb_proof_sort(struct qb_proof *p, struct qb_err *err)
{
    p->sorted.n = 0;
    for (size_t i = 0; i < p->written.n; i++)
        if (!qb_vec_push(&p->sorted, p->written.items[i]))
            return qb_fail_memory(err);
    qb_ranges_sort(p->sorted.items, p->sorted.n);
    if (are_apart(p->sorted.items, p->sorted.n) && are_apart(p->zeroed.items, p->zeroed.n))
        return 0;
    return qb_fail(err, QB_E_CORRUPT, QB_NOWHERE, "the ranges of an undo's proof overlap");
}

bool qb_proof_is_new(const struct qb_proof *p, uint64_t offset)
{
    if (p->sorted.n)
        return qb_ranges_hold(p->sorted.items, p->sorted.n, offset);
    return offset >= p->base && offset < p->zero_base;
}

bool qb_proof_is_zeros(const struct qb_proof *p, uint64_t offset)
{
    if (p->sorted.n)
        return qb_ranges_hold(p->zeroed.items, p->zeroed.n, offset);
    return offset >= p->zero_base && offset < p->end;
}
