/* Fingerprints compressed clusters that an amend moves or recompresses by the bytes that the guest
 * reads. */
#include "base/ranges.h"
#include "content/content_parts.h"

bool qb_content_is_new(const struct qb_content_rules *rules, uint64_t offset)
{
    return offset >= rules->new_from ||
           qb_ranges_hold(rules->new_inside, rules->n_new_inside, offset);
}

bool qb_content_is_inflated(const struct qb_taking *t, uint64_t entry)
{
    struct qb_compressed z = qb_l2_compressed(&t->img->geom, entry);
    const struct qb_moves *m = t->rules->moves;

    if (z.offset >= t->img->file->size)
        return false;
    if (t->rules->recodes)
        return true;
    return m && m->pieces.n &&
           (qb_moves_piece(m, z.offset, z.available) || qb_content_is_new(t->rules, z.offset));
}

/* Decompresses that of entry i and some of those after it. */
static int inflate_from(struct qb_taking *t, const uint8_t *table, uint64_t i, struct qb_err *err)
{
    const struct qb_geom *g = &t->img->geom;

    if (!t->inflater && !(t->inflater = qb_inflater_new(t->io, t->img, t->host, &t->hosts, err)))
        return -1;
    t->inflater->n = 0;
    for (; i < t->unit && !qb_inflater_is_full(t->inflater); i++) {
        uint64_t entry = qb_l2_get(g, table, i, 0);
        struct qb_compressed z = qb_l2_compressed(g, entry);

        if (qb_l2_kind_at(g, table, i) == QB_COMPRESSED && qb_content_is_inflated(t, entry))
            qb_inflater_add(t->inflater, entry, z.available, z.offset, i);
    }
    return qb_inflater_run(t->inflater, t->io, err);
}

/* They are taken in the order of the table, and some are not.  What is left of another table is
 * good for an entry that is the same. */
static const struct qb_inflating *take(struct qb_inflater *f, uint64_t entry)
{
    while (f && f->next < f->n && f->batch[f->next].entry != entry)
        f->next++;
    return f && f->next < f->n ? &f->batch[f->next++] : NULL;
}

int qb_content_packed_bytes(struct qb_taking *t, const uint8_t *table, uint64_t i,
                            struct qb_digest *out, bool *zero, struct qb_err *err)
{
    uint64_t entry = qb_l2_get(&t->img->geom, table, i, 0);
    const struct qb_inflating *one = take(t->inflater, entry);

    if (!one && inflate_from(t, table, i, err) < 0)
        return -1;
    if (!one)
        one = take(t->inflater, entry);
    if (one->errnum)
        return qb_io_fail(&t->inflater->reqs[one - t->inflater->batch], "a compressed cluster",
                          err);
    if (one->failed == QB_E_MEMORY)
        return qb_fail_memory(err);
    if (one->failed != QB_E_NONE)
        return qb_fail(err, one->failed, one->offset, "a compressed cluster does not decompress");
    *out = one->digest;
    *zero = one->zero;
    return 0;
}
