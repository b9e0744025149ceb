/* Places pieces of compressed data that move: one after the other, in runs of free clusters, each
 * at the byte of a sector at which it was.  Pieces that follow each other keep their distance, so
 * that they share the sector in which one ends and the next begins; a piece lies in several
 * clusters only within a run.  A cluster takes as many as its refcount can say. */
#include <stdlib.h>

#include "base/own.h"
#include "plan/layout.h"
#include "plan/release.h"
#include "qcow2/refcount.h"

enum { RUN_CLUSTERS = 256 };

struct packing {
    uint64_t cs, max;                  /* bytes of a cluster; the greatest refcount */
    uint64_t first, end;               /* of the run, bytes */
    uint64_t at;                       /* nothing is past it yet; whole sectors */
    uint64_t refs[RUN_CLUSTERS];       /* of each cluster of the run */
    const struct qb_moved_piece *last; /* that was placed in this run, or NULL */
};

static bool fits(const struct packing *p, const struct qb_moved_piece *piece, uint64_t to)
{
    uint64_t end = to + piece->available;

    if (end > p->end)
        return false;
    for (uint64_t c = (to - p->first) / p->cs; c <= (end - 1 - p->first) / p->cs; c++)
        if (p->refs[c] + piece->refs > p->max)
            return false;
    return true;
}

/* Finds the piece its place in the run. */
static bool place(struct packing *p, struct qb_moved_piece *piece)
{
    uint64_t in_sector = piece->offset % QB_SECTOR, to = p->at + in_sector;

    if (p->last && piece->offset / QB_SECTOR * QB_SECTOR <= p->last->offset + p->last->available)
        to = p->last->to + (piece->offset - p->last->offset);
    if (!fits(p, piece, to))
        to = qb_round_up(p->at, p->cs) + in_sector;
    if (!fits(p, piece, to))
        return false;
    piece->to = to;
    p->last = piece;
    p->at = QB_MAX(p->at, to + piece->available);
    for (uint64_t c = to / p->cs; c <= (to + piece->available - 1) / p->cs; c++)
        p->refs[c - p->first / p->cs] += piece->refs;
    return true;
}

static struct packing begin(const struct qb_layout *l, uint64_t first, uint64_t n)
{
    uint64_t cs = qb_layout_cluster_size(l);

    return (struct packing){.cs = cs,
                            .max = qb_refcount_max(l->plan->target.header.refcount_order),
                            .first = first * cs,
                            .end = (first + n) * cs,
                            .at = first * cs};
}

/* Packs as many pieces as have room, from number `i` on; returns the first that has none. */
static size_t pack(struct packing *p, struct qb_moves *m, size_t i)
{
    while (i < m->pieces.n && place(p, &m->pieces.items[i]))
        i++;
    return i;
}

/* The clusters that the pieces from number `i` on would take, if they were in a row. */
static uint64_t wanted(const struct qb_layout *l, size_t i)
{
    struct packing p = begin(l, 0, RUN_CLUSTERS);

    pack(&p, &l->plan->moves, i);
    return qb_div_up(p.at, p.cs);
}

static int count_run(struct qb_layout *l, const struct packing *p, uint64_t to, uint64_t n,
                     struct qb_err *err)
{
    for (uint64_t c = 0; c < n; c++)
        if (p->refs[c] && qb_layout_count(l, to + c, 1, p->refs[c], err) < 0)
            return -1;
    return 0;
}

static int place_run(struct qb_layout *l, size_t *i, struct qb_err *err)
{
    struct qb_plan *plan = l->plan;
    struct qb_piece_extent e = {.first = *i};
    struct qb_step step = {
        .kind = QB_STEP_PIECES, .index = plan->moves.packed.n, .what = "moved compressed data"};
    struct packing p;

    if (qb_layout_take_some(l, wanted(l, *i), &e.to, &e.n, err) < 0)
        return -1;
    p = begin(l, e.to, e.n);
    *i = e.end = pack(&p, &plan->moves, *i);
    if (e.end == e.first)
        return qb_fail(err, QB_E_INTERNAL, plan->moves.pieces.items[*i].offset,
                       "compressed data has no place");
    step.offset = p.first;
    step.len = e.n * p.cs;
    plan->place.n_bytes += step.len;
    if (count_run(l, &p, e.to, e.n, err) < 0 ||
        qb_counts_push(&plan->census.counts, &plan->moves.packed, err, e) < 0)
        return -1;
    return qb_counts_push(&plan->census.counts, &plan->place.steps, err, step);
}

int qb_layout_place_pieces(struct qb_layout *l, struct qb_err *err)
{
    const struct qb_moves *m = &l->plan->moves;

    for (size_t i = 0; i < m->pieces.n;)
        if (qb_io_go_on(l->io, err) < 0 || place_run(l, &i, err) < 0)
            return -1;
    for (size_t i = 0; i < m->pieces.n; i++)
        if (qb_plan_release(l->plan, m->pieces.items[i].offset, m->pieces.items[i].available,
                            m->pieces.items[i].refs, err) < 0)
            return -1;
    return 0;
}
