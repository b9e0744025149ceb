/* Most of what a table names is a few long runs of clusters, with other entries in between: a
 * cluster is allocated when it is first written, and one that an amend made is in a run of those.
 * So consecutive clusters are counted together, whatever lies between their entries, and a few such
 * runs are followed at the same time. */
#include "check/plain_entries.h"

#define NOT_MET 1u /* a value that is not compared with what follows */

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

/* Takes the entries from `i` on into the run that continue it; the first one does.  Returns how
 * many do. */
static uint64_t extend(const struct walk *w, struct run *run, uint64_t i)
{
    const struct qb_geom *g = &w->p->img->geom;
    uint64_t most = QB_MIN(g->l2_entries - i, run->longest - run->n), k = 1;
    uint64_t next = run->next + g->cluster_size;

    for (; k < most && qb_l2_get(g, w->table, i + k, 0) == next; next += g->cluster_size)
        k++;
    run->n += k;
    run->next = run->n < run->longest ? next : NOT_MET;
    return k;
}

/* The entries from `i` on that continue a run that is followed, or a new one, in whose favour
 * another is counted: their number in *n.  0 if there are none: the entry is not plain. */
static int follow(struct walk *w, uint64_t i, uint64_t entry, uint64_t *n, struct qb_err *err)
{
    struct run run = w->runs[0], last = w->runs[RUNS - 1];

    *n = 0;
    if (entry == last.next) {
        *n = extend(w, &w->runs[RUNS - 1], i);
        return 0;
    }
    if (entry != run.next) {
        if (!begin(w, entry, &run))
            return 0;
        if (count_run(w, w->runs[0], err) < 0)
            return -1;
    }
    *n = extend(w, &run, i);
    w->runs[0] = last;
    w->runs[RUNS - 1] = run;
    return 0;
}

/* Counts a compressed entry, if it is plain. */
static int count_compressed(struct walk *w, uint64_t i, uint64_t entry, bool *is_plain,
                            struct qb_err *err)
{
    const struct qb_geom *g = &w->p->img->geom;
    struct qb_compressed z = qb_l2_compressed(g, entry);
    uint64_t first = z.offset >> g->cluster_bits, size = w->p->img->file->size;
    uint64_t last = (z.offset + z.available - 1) >> g->cluster_bits;

    *is_plain =
        !(entry & QB_ENTRY_COPIED) && z.offset < size && last <= qb_div_up(size, g->cluster_size);
    if (!*is_plain)
        return 0;
    if (w->note->compressed++ == 0)
        qb_census_meet(&w->p->first_compressed, qb_census_place_of(g, w->t, i));
    return qb_counts_add_data(w->p->counts, first, last - first + 1, w->t->refs, 0, err);
}

/* 64 entries, or one, that read zero or nothing. */
static uint64_t skip_zeros(const struct walk *w, uint64_t i, uint64_t entry)
{
    int zeros = -1;

    if (i % QB_L2_BLOCK == 0)
        zeros = qb_l2_plain_zeros(&w->p->img->geom, w->table, i);
    w->note->zero_plain += (uint32_t)(zeros < 0 ? entry : (uint64_t)zeros);
    return zeros < 0 ? 1 : QB_L2_BLOCK;
}

int qb_plain_count(struct qb_plain_entries *p, const struct qb_l2_table *t, const uint8_t *table,
                   uint64_t i, struct qb_table_note *note, uint64_t *stop, struct qb_err *err)
{
    const struct qb_geom *g = &p->img->geom;
    struct walk w = {p, t, table, note, {{.next = NOT_MET}, {.next = NOT_MET}}};
    uint64_t n = 1;
    bool is_plain;

    for (; n && i < g->l2_entries; i += n) {
        uint64_t entry = qb_l2_get(g, table, i, 0);

        if (entry <= QB_ENTRY_ZERO) { /* unallocated, or the zero flag alone */
            n = skip_zeros(&w, i, entry);
        } else if (!(entry & QB_ENTRY_COMPRESSED)) {
            if (follow(&w, i, entry, &n, err) < 0)
                return -1;
        } else {
            if (count_compressed(&w, i, entry, &is_plain, err) < 0)
                return -1;
            n = is_plain;
        }
    }
    *stop = i;
    return count_run(&w, w.runs[0], err) < 0 ? -1 : count_run(&w, w.runs[RUNS - 1], err);
}
