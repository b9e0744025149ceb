/* Most of what a table names is a few long runs of clusters, with other entries in between: a
 * cluster is allocated when it is first written, and one that an amend made is in a run of those.
 * So consecutive clusters are counted together, whatever lies between their entries, and a few such
 * runs are followed at the same time. */
#include "check/plain_entries.h"

#include "qcow2/l2_block.h"

#define NOT_MET 1u /* a zero cluster: never an entry that continues a run */

enum { RUNS = 2 };

struct run {
    uint64_t entry, n; /* its first entry, and its length */
    uint64_t longest;  /* the clusters that the file has from there on */
    uint64_t next;     /* the entry that continues it, or NOT_MET */
};

struct walk {
    struct qb_plain_entries *p;
    const struct qb_l2_table *t;
    const uint8_t *table;
    struct qb_table_note *note;
    struct run runs[RUNS]; /* not counted yet; the last one was continued last */
};

bool qb_plain_knows(const struct qb_image *img)
{
    return img->geom.l2_entry_size == 8 && !img->geom.external_data;
}

static int count_run(struct walk *w, struct run run, struct qb_err *err)
{
    uint64_t first = (run.entry & QB_ENTRY_OFFSET) >> w->p->img->geom.cluster_bits;
    unsigned marks = run.entry & QB_ENTRY_COPIED ? QB_MARK_COPIED : QB_MARK_PLAIN;

    if (run.n == 0)
        return 0;
    *(run.entry & QB_ENTRY_ZERO ? &w->note->zero_allocated : &w->note->data) += (uint32_t)run.n;
    return qb_counts_add_data(w->p->counts, first, run.n, w->t->refs, w->t->active ? marks : 0,
                              err);
}

/* A run that begins with this entry, if it is plain, and has not even that one yet. */
static bool begin(const struct walk *w, uint64_t entry, struct run *run)
{
    const struct qb_geom *g = &w->p->img->geom;
    const uint64_t flags = QB_ENTRY_COPIED | QB_ENTRY_ZERO;
    uint64_t offset = entry & ~flags, size = w->p->img->file->size;

    if (offset & ~QB_ENTRY_OFFSET || offset % g->cluster_size || !offset || offset >= size)
        return false;
    *run = (struct run){entry, 0, qb_div_up(size - offset, g->cluster_size), entry};
    return true;
}

static void extend(const struct qb_geom *g, struct run *run, uint64_t n)
{
    run->n += n;
    run->next = run->n < run->longest ? run->next + n * g->cluster_size : NOT_MET;
}

static uint64_t room(const struct run *run)
{
    return run->next == NOT_MET ? UINT64_MAX : run->longest - run->n;
}

/* Takes the 64 entries from `i` on, if all read zero or nothing, or continue the last run: true. */
static bool take_block(struct walk *w, uint64_t i, uint64_t entry)
{
    const struct qb_geom *g = &w->p->img->geom;
    const uint8_t *block = w->table + i * 8;
    struct run *last = &w->runs[RUNS - 1];
    int zeros;

    if (entry <= QB_ENTRY_ZERO) { /* unallocated, or the zero flag alone */
        zeros = qb_l2_block_zeros(block);
        w->note->zero_plain += zeros > 0 ? (uint32_t)zeros : 0;
        return zeros >= 0;
    }
    if (entry != last->next || room(last) < QB_L2_BLOCK ||
        !qb_l2_block_is_run(block, entry, g->cluster_bits))
        return false;
    extend(g, last, QB_L2_BLOCK);
    return true;
}

/* Takes entries from `i` on that read zero or nothing, or continue one of the runs, and says how
 * many: up to the next block, or until a run may be at its end. */
static uint64_t take_known(struct walk *w, uint64_t i)
{
    const struct qb_geom *g = &w->p->img->geom;
    struct run *older = &w->runs[0], *last = &w->runs[RUNS - 1], swapped;
    uint64_t most = qb_min(QB_L2_BLOCK - i % QB_L2_BLOCK, qb_min(room(older), room(last)));
    uint64_t n_older = 0, n_last = 0, zeros = 0, k = 0;
    uint64_t next_older = older->next, next_last = last->next;

    for (; k < most; k++) {
        uint64_t entry = qb_l2_get(g, w->table, i + k, 0);

        if (entry <= QB_ENTRY_ZERO) {
            zeros += entry;
        } else if (entry == next_last) {
            next_last += g->cluster_size;
            n_last++;
        } else if (entry == next_older) {
            next_older += g->cluster_size;
            n_older++;
        } else {
            break;
        }
    }
    w->note->zero_plain += (uint32_t)zeros;
    extend(g, last, n_last);
    extend(g, older, n_older);
    if (n_older && !n_last) {
        swapped = *older;
        *older = *last;
        *last = swapped;
    }
    return k;
}

/* Begins a run with this entry, and counts one that is followed in its favour: 1; 0 where the entry
 * is not plain, -1 after a failure. */
static int follow(struct walk *w, uint64_t entry, struct qb_err *err)
{
    struct run run;

    if (!begin(w, entry, &run))
        return 0;
    if (count_run(w, w->runs[0], err) < 0)
        return -1;
    w->runs[0] = w->runs[RUNS - 1];
    extend(&w->p->img->geom, &run, 1);
    w->runs[RUNS - 1] = run;
    return 1;
}

/* Counts a compressed entry, if it is plain: 1 or 0, -1 after a failure. */
static int count_compressed(struct walk *w, uint64_t i, uint64_t entry, struct qb_err *err)
{
    const struct qb_geom *g = &w->p->img->geom;
    struct qb_compressed z = qb_l2_compressed(g, entry);
    uint64_t first = z.offset >> g->cluster_bits, size = w->p->img->file->size;
    uint64_t last = (z.offset + z.available - 1) >> g->cluster_bits;

    if (entry & QB_ENTRY_COPIED || z.offset >= size || last > qb_div_up(size, g->cluster_size))
        return 0;
    if (w->note->compressed++ == 0)
        qb_census_meet(&w->p->first_compressed, qb_census_place_of(g, w->t, i));
    return qb_counts_add_data(w->p->counts, first, last - first + 1, w->t->refs, 0, err) < 0 ? -1
                                                                                             : 1;
}

int qb_plain_count(struct qb_plain_entries *p, const struct qb_l2_table *t, const uint8_t *table,
                   uint64_t i, struct qb_table_note *note, uint64_t *stop, struct qb_err *err)
{
    const struct qb_geom *g = &p->img->geom;
    struct walk w = {p, t, table, note, {{.next = NOT_MET}, {.next = NOT_MET}}};
    int taken = 1;

    while (taken > 0 && i < g->l2_entries) {
        uint64_t entry = qb_l2_get(g, table, i, 0), n;

        if (i % QB_L2_BLOCK == 0 && take_block(&w, i, entry)) {
            i += QB_L2_BLOCK;
            continue;
        }
        if ((n = take_known(&w, i))) {
            i += n;
            continue;
        }
        taken = entry & QB_ENTRY_COMPRESSED ? count_compressed(&w, i, entry, err)
                                            : follow(&w, entry, err);
        i += taken > 0;
    }
    *stop = i;
    if (taken < 0 || count_run(&w, w.runs[0], err) < 0)
        return -1;
    return count_run(&w, w.runs[RUNS - 1], err);
}
