/* Proves for an undo that the old image's references are all counted in the amended image, so that
 * no guest can have allocated a cluster that only the old image refers to. */
#include <inttypes.h>

#include "base/num.h"
#include "undo/undo_prove.h"

/* Where an entry of the old refcount table led past the end of the old file, the amended one may
 * have something: it is none of the old image's.  Where both have one table, a guest may have added
 * to it and to the file. */
static int count(struct qb_proving *p)
{
    uint64_t blocks_end =
        qb_proof_rewrites(p->proof) ? qb_min(p->old_length, p->old.file->size) : p->old.file->size;

    if (qb_census_count_within(p->io, &p->old, p->memory_limit, blocks_end, &p->old_refs, p->err) <
            0 ||
        qb_census_compare(p->io, &p->old_refs, p->err) < 0)
        return -1;
    return qb_census_count(p->io, &p->now, p->memory_limit, &p->now_refs, p->err);
}

/* One page of the old image's counts: references that the old image has in excess of the amended
 * one are added to the amended one's. */
static int cross_page(struct qb_proving *p, const struct qb_count_page *old)
{
    struct qb_counts *now = &p->now_refs.counts;
    uint64_t base = old->number * QB_PAGE_COUNTS, cs = p->old.geom.cluster_size;
    const struct qb_count_page *q = qb_counts_page(now, base);

    if (q && !old->cells && !q->cells && old->count == q->count)
        return 0;
    for (unsigned i = 0; i < QB_PAGE_COUNTS; i++) {
        uint64_t wanted = qb_page_count(old, i), have = q ? qb_page_count(q, i) : 0;

        if (wanted && have > wanted)
            return qb_undo_refuse(p, (base + i) * cs, "references to a cluster were added");
        if (wanted > have && qb_counts_add(now, base + i, wanted - have, 0, p->err) < 0)
            return -1;
    }
    return 0;
}

/* Whether the amend itself put something into this cluster, which was free before. */
static bool is_appended(const struct qb_proving *p, uint64_t cluster)
{
    uint64_t offset = cluster * p->old.geom.cluster_size;

    return qb_proof_is_new(p->proof, offset) || qb_proof_is_zeros(p->proof, offset);
}

/* Clusters from before the amend, to which only the amended image refers: a guest got them. */
static int find_taken(struct qb_proving *p)
{
    uint64_t end =
        qb_proof_rewrites(p->proof) ? p->proof->base / p->old.geom.cluster_size : UINT64_MAX;
    struct qb_count_page *const *pages = qb_counts_pages(&p->now_refs.counts);

    for (size_t n = 0; n < p->now_refs.counts.n_pages; n++) {
        uint64_t base = pages[n]->number * QB_PAGE_COUNTS;
        const struct qb_count_page *old = qb_counts_page(&p->old_refs.counts, base);

        if (old && !old->cells && old->count)
            continue;
        for (unsigned i = 0; i < QB_PAGE_COUNTS && base + i < end; i++)
            if (qb_page_count(pages[n], i) && !(old && qb_page_count(old, i)) &&
                !is_appended(p, base + i))
                return qb_undo_refuse(p, (base + i) * p->old.geom.cluster_size,
                                      "a cluster was allocated");
    }
    return 0;
}

static int cross(struct qb_proving *p)
{
    struct qb_count_page *const *pages = qb_counts_pages(&p->old_refs.counts);

    for (size_t n = 0; n < p->old_refs.counts.n_pages; n++)
        if (cross_page(p, pages[n]) < 0)
            return -1;
    return find_taken(p);
}

static int not_whole(struct qb_proving *p, const struct qb_census *c, const char *what)
{
    return qb_fail(p->err, QB_E_CHANGED, c->first.offset, "%s is not whole: %.200s", what,
                   c->first.text);
}

/* The refcounts and flags of an old image that was dirty, or that was mended, are not compared.
 * Where both headers lead to the same tables, no census was taken before the amend, and a flag that
 * never fitted its count (a leak's) was caused neither by the amend nor by the guest. */
static int both_are_whole(struct qb_proving *p)
{
    const struct qb_census *old = &p->old_refs, *now = &p->now_refs;
    bool any = (p->old.header.incompatible & QB_INCOMPAT_DIRTY) || p->proof->mended;
    bool rewrites = qb_proof_rewrites(p->proof);

    if (qb_census_tables_are_broken(old) ||
        (!any && (old->n_bad_blocks || old->n_low || (rewrites && old->n_copied))))
        return not_whole(p, old, "what the old header refers to");
    if (qb_census_is_broken(now) || now->n_low || (rewrites && now->n_copied))
        return not_whole(p, now, "the amended image, with what is kept for an undo,");
    if (rewrites && qb_counts_end(&p->old_refs.counts) * p->old.geom.cluster_size > p->proof->base)
        return qb_undo_refuse(p, p->proof->base, "a cluster past the old image was allocated");
    return 0;
}

int qb_undo_count(struct qb_proving *p)
{
    if (count(p) < 0 || cross(p) < 0 || qb_census_compare(p->io, &p->now_refs, p->err) < 0)
        return -1;
    return both_are_whole(p);
}
