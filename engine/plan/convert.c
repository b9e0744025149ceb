/* Finds the L2 tables that those of the plan become where the target has or loses extended entries.
 *
 * A standard table of 8-byte entries becomes two of 16-byte entries; where extended entries go, two
 * become one.  The guest's disk keeps its place, so its tables follow from their L1 index.  VM
 * state begins with the first L1 entry past the disk's end, and so moves with the reach of an
 * entry: by each layer's own disk size.  Tables that layers share stay shared, unless their VM
 * state and disk move differently. */
#include "plan/new_tables.h"

/* An entry of a layer's L1 table in the source's geometry: a table of the plan. */
struct source_entry {
    uint32_t index;
    size_t table;
};

/* One layer's L1 table, before and after. */
struct layer {
    struct qb_io *io;
    struct qb_plan *plan;
    unsigned number;
    uint64_t old_disk, new_disk; /* entries that the layer's disk takes in either */
    QB_VEC(struct source_entry) entries;
};

/* Takes one entry of the layer's new L1 table: it leads to `t`, whose refs mean nothing. */
typedef int entry_fn(void *arg, const struct layer *l, const struct qb_converted_table *t,
                     struct qb_err *err);

/* ---- a layer --------------------------------------------------------------------------------- */

static bool splits(const struct qb_plan *plan)
{
    return plan->geom.l2_entry_size == 16;
}

static uint64_t disk_size(const struct qb_plan *plan, unsigned number)
{
    return number == 0 ? plan->target.header.size : qb_image_layer(plan->in.img, number).disk_size;
}

static uint64_t new_l1_size(const struct qb_plan *plan, unsigned number)
{
    uint64_t size = disk_size(plan, number);
    uint64_t old_disk = qb_geom_l1_needed(&plan->in.img->geom, size);
    uint64_t new_disk = qb_geom_l1_needed(&plan->geom, size);
    uint64_t old = number == 0 ? plan->conversion.source_l1_size
                               : qb_image_layer(plan->in.img, number).l1_size;
    uint64_t disk = QB_MIN(old, old_disk), state = old - disk;

    if (splits(plan))
        return QB_MIN(2 * disk, new_disk) + 2 * state;
    return qb_min(qb_div_up(disk, 2), new_disk) + qb_div_up(state, 2);
}

uint32_t qb_convert_l1_size(const struct qb_plan *plan, unsigned number)
{
    return (uint32_t)new_l1_size(plan, number);
}

static int push(struct layer *l, uint32_t index, size_t table, struct qb_err *err)
{
    const struct source_entry e = {index, table};

    if (table == QB_NO_TABLE || l->plan->new_tables.list.items[table].empty)
        return 0;
    return qb_counts_push(&l->plan->census.counts, &l->entries, err, e);
}

static int add_entry(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    struct layer *l = arg;

    return push(l, index, qb_new_table_at(l->plan, l->number, index, entry), err);
}

static int by_index(const void *a, const void *b)
{
    const struct source_entry *x = a, *y = b;

    return (x->index > y->index) - (x->index < y->index);
}

static int gather(struct layer *l, struct qb_err *err)
{
    const struct qb_new_tables *news = &l->plan->new_tables;
    struct qb_layer old = qb_image_layer(l->plan->in.img, l->number);

    if (qb_image_scan_entries(&(struct qb_entry_scan){l->io, l->plan->in.img, old.l1_offset,
                                                      old.l1_size, "an L1 table", add_entry, l},
                              err) < 0)
        return -1;
    /* Tables of the active layer's own where it had none. */
    for (size_t i = 0; l->number == 0 && i < news->n_splits; i++)
        if (news->list.items[i].source == QB_NO_TABLE &&
            push(l, news->list.items[i].l1_index, i, err) < 0)
            return -1;
    if (l->entries.n)
        qsort(l->entries.items, l->entries.n, sizeof(*l->entries.items), by_index);
    return 0;
}

/* The L1 entry in the target for entry `index` of the source, or its half. */
static uint64_t new_index(const struct layer *l, uint64_t index, unsigned half)
{
    bool in_disk = index < l->old_disk;
    uint64_t from = in_disk ? index : index - l->old_disk;

    return (in_disk ? 0 : l->new_disk) + (splits(l->plan) ? 2 * from + half : from / 2);
}

static int past_end(const struct layer *l, size_t table, struct qb_err *err)
{
    size_t source = l->plan->new_tables.list.items[table].source;

    return qb_fail(err, QB_E_CORRUPT,
                   source == QB_NO_TABLE ? QB_NOWHERE : l->plan->census.tables.items[source].offset,
                   "an L2 table of %s %u has entries past the end of its disk of %llu bytes",
                   l->number ? "snapshot" : "the active layer, number", l->number,
                   (unsigned long long)disk_size(l->plan, l->number));
}

/* In an external data file a cluster lies at its guest offset, and AES encrypts it by that: neither
 * can move.  VM state of the active layer is of no use to anybody. */
static int check_moves(const struct layer *l, const struct source_entry *e, struct qb_err *err)
{
    const struct qb_image *img = l->plan->in.img;

    if (e->index < l->old_disk)
        return 0;
    if (img->geom.external_data)
        return qb_fail(
            err, QB_E_UNSUPPORTED, QB_NOWHERE,
            "the external data file holds VM state, which a change of extended_l2 would move");
    if (img->header.crypt_method == QB_CRYPT_AES && l->number > 0)
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "the VM state of snapshot %u is encrypted with AES, which depends on where "
                       "it lies, and a change of extended_l2 would move it",
                       l->number);
    return 0;
}

static int each_half(const struct layer *l, const struct source_entry *e, entry_fn *fn, void *arg,
                     struct qb_err *err)
{
    for (unsigned half = 0; half < 2; half++) {
        struct qb_converted_table t = {{e->table, QB_NO_TABLE}, half, 0, 0, l->number == 0, 0};
        uint64_t index = new_index(l, e->index, half);

        if (!(l->plan->new_tables.list.items[e->table].filled >> half & 1))
            continue;
        if (e->index < l->old_disk && index >= l->new_disk)
            return past_end(l, e->table, err);
        t.l1_index = (uint32_t)index;
        if (fn(arg, l, &t, err) < 0)
            return -1;
    }
    return 0;
}

/* Calls fn for the entries of the layer's new L1 table, ascending. */
static int each_entry(const struct layer *l, entry_fn *fn, void *arg, struct qb_err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < l->entries.n; i += n) {
        const struct source_entry *e = &l->entries.items[i];
        struct qb_converted_table t = {{QB_NO_TABLE, QB_NO_TABLE}, 0, 0, 0, l->number == 0, 0};

        if (qb_io_go_on(l->io, err) < 0 || check_moves(l, e, err) < 0)
            return -1;
        n = 1;
        if (splits(l->plan)) {
            if (each_half(l, e, fn, arg, err) < 0)
                return -1;
            continue;
        }
        t.l1_index = (uint32_t)new_index(l, e->index, 0);
        for (n = 0; i + n < l->entries.n && new_index(l, e[n].index, 0) == t.l1_index; n++)
            t.parts[(e[n].index < l->old_disk ? e[n].index : e[n].index - l->old_disk) % 2] =
                e[n].table;
        if (fn(arg, l, &t, err) < 0)
            return -1;
    }
    return 0;
}

static int with_layer(struct qb_io *io, struct qb_plan *plan, unsigned number, entry_fn *fn,
                      void *arg, struct qb_err *err)
{
    uint64_t size = disk_size(plan, number);
    struct layer l = {
        .io = io,
        .plan = plan,
        .number = number,
        .old_disk = qb_geom_l1_needed(&plan->in.img->geom, size),
        .new_disk = qb_geom_l1_needed(&plan->geom, size),
    };
    int r = gather(&l, err);

    if (r == 0)
        r = each_entry(&l, fn, arg, err);
    qb_counts_let_go(&plan->census.counts, l.entries.cap * sizeof(*l.entries.items));
    qb_vec_free(&l.entries);
    return r;
}

/* ---- the tables ------------------------------------------------------------------------------ */

static bool same(const struct qb_converted_table *a, const struct qb_converted_table *b)
{
    return a->parts[0] == b->parts[0] && a->parts[1] == b->parts[1] && a->half == b->half &&
           a->l1_index == b->l1_index;
}

static size_t slot_of(const struct qb_conversion *c, const struct qb_converted_table *t)
{
    uint64_t key = (t->parts[0] * 2 + t->half) * 31 + t->parts[1] * 7 + t->l1_index;
    size_t i = (size_t)(key * qb_hash_multiplier() >> (64 - (unsigned)__builtin_ctzll(c->n_slots)));

    while (c->slots[i] && !same(&c->list.items[c->slots[i] - 1], t))
        i = (i + 1) & (c->n_slots - 1);
    return i;
}

static void fill_slots(struct qb_conversion *c)
{
    for (size_t i = 0; i < c->n_slots; i++)
        c->slots[i] = 0;
    for (size_t i = 0; i < c->list.n; i++)
        c->slots[slot_of(c, &c->list.items[i])] = (uint32_t)i + 1;
}

static int grow_slots(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_conversion *c = &plan->conversion;
    size_t want = c->n_slots ? c->n_slots * 2 : 64;
    uint32_t *fresh;

    if (qb_counts_hold(&plan->census.counts, (want - c->n_slots) * sizeof(*fresh), err) < 0)
        return -1;
    fresh = calloc(want, sizeof(*fresh));
    if (!fresh)
        return qb_fail_memory(err);
    free(c->slots);
    c->slots = fresh;
    c->n_slots = want;
    fill_slots(c);
    return 0;
}

static int count_entry(void *arg, const struct layer *l, const struct qb_converted_table *t,
                       struct qb_err *err)
{
    struct qb_conversion *c = &l->plan->conversion;
    size_t slot;

    (void)arg;
    if (c->list.n >= c->n_slots / 2 && grow_slots(l->plan, err) < 0)
        return -1;
    slot = slot_of(c, t);
    if (c->slots[slot] == 0) {
        if (qb_counts_push(&l->plan->census.counts, &c->list, err, *t) < 0)
            return -1;
        c->slots[slot] = (uint32_t)c->list.n;
    }
    c->list.items[c->slots[slot] - 1].refs++;
    c->list.items[c->slots[slot] - 1].active |= t->active;
    return 0;
}

/* In the order in which the sources are read. */
static int by_parts(const void *a, const void *b)
{
    const struct qb_converted_table *x = a, *y = b;

    if (x->parts[0] != y->parts[0])
        return x->parts[0] < y->parts[0] ? -1 : 1;
    if (x->parts[1] != y->parts[1])
        return x->parts[1] < y->parts[1] ? -1 : 1;
    if (x->half != y->half)
        return x->half < y->half ? -1 : 1;
    return (x->l1_index > y->l1_index) - (x->l1_index < y->l1_index);
}

int qb_convert_plan(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_conversion *c = &plan->conversion;

    c->source_l1_size = plan->active.size;
    for (unsigned i = 0; i < qb_image_layers(plan->in.img); i++) {
        if (i > 0 && !qb_target_keeps(&plan->target, i - 1))
            continue;
        if (new_l1_size(plan, i) > QB_MAX_L1_BYTES / 8)
            return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                           "an L1 table would be larger than 32 MiB with extended L2 entries");
        if (with_layer(plan->in.io, plan, i, count_entry, NULL, err) < 0)
            return -1;
    }
    plan->active.size = qb_convert_l1_size(plan, 0);
    plan->active.moves = true;
    if (c->list.n)
        qsort(c->list.items, c->list.n, sizeof(*c->list.items), by_parts);
    if (c->n_slots)
        fill_slots(c);
    return 0;
}

static int put_entry(void *arg, const struct layer *l, const struct qb_converted_table *t,
                     struct qb_err *err)
{
    const struct qb_conversion *c = &l->plan->conversion;
    const struct qb_converted_table *found;
    be64 *now = arg;
    size_t slot = slot_of(c, t);

    if (c->slots[slot] == 0)
        return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE, "an L1 entry's new table was not planned");
    found = &c->list.items[c->slots[slot] - 1];
    now[t->l1_index] =
        be64_of(found->offset | (t->active && found->refs == 1 ? QB_ENTRY_COPIED : 0));
    return 0;
}

int qb_convert_l1(struct qb_io *io, struct qb_plan *plan, unsigned layer, be64 *now,
                  struct qb_err *err)
{
    return with_layer(io, plan, layer, put_entry, now, err);
}
