#include "content/content.h"

#include <inttypes.h>

#include "check/census.h"
#include "content/content_parts.h"

enum { WINDOWS = 4096, WINDOW_LEAST = 1 << 20 };

void qb_content_free(struct qb_content *c)
{
    qb_vec_free(&c->layers);
    qb_vec_free(&c->windows);
}

/* ---- what every table says ------------------------------------------------------------------- */

/* The whole table is compared in the active layer too, entry by entry. */
static bool is_inside(const struct qb_taking *t, uint64_t first)
{
    return first + t->unit <= t->real_end && !(t->edge >= first && t->edge < first + t->unit);
}

static int print_unit(struct qb_taking *t, const struct qb_l2_table *which, unsigned unit,
                      const uint8_t *entries, struct qb_table_print *p, struct qb_err *err)
{
    uint64_t first = which->l1_index * t->img->geom.l2_entries + unit * t->unit;
    bool whole = which->refs > which->active || is_inside(t, first);

    p->seen = true;
    if (whole && qb_content_unit(t, entries, first, false, &p->whole, err) < 0)
        return -1;
    if (!which->active)
        return 0;
    p->active = p->whole;
    return is_inside(t, first) ? 0 : qb_content_unit(t, entries, first, true, &p->active, err);
}

static int print_table(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct qb_taking *t = arg;

    for (unsigned i = 0; i < t->n_units; i++)
        if (print_unit(t, &t->tables.items[index], i,
                       table + i * t->unit * t->img->geom.l2_entry_size,
                       &t->prints[index * t->n_units + i], err) < 0)
            return -1;
    return 0;
}

static int gather(struct qb_taking *t, uint64_t memory_limit, struct qb_err *err)
{
    if (qb_tables_gather(t->io, t->img, memory_limit, NULL, NULL, &t->tables, err) < 0)
        return -1;
    for (size_t i = 0; i < t->tables.n; i++)
        if (t->tables.items[i].crossed)
            return qb_fail(err, QB_E_CORRUPT, t->tables.items[i].offset,
                           "an L2 table is used for two different parts of the disk");
    t->hosts.memory_limit = memory_limit;
    if (qb_counts_hold(&t->hosts, t->tables.cap * sizeof(*t->tables.items), err) < 0 ||
        qb_counts_hold(&t->hosts, t->tables.n * t->n_units * sizeof(*t->prints), err) < 0)
        return -1;
    t->prints = calloc(t->tables.n * t->n_units + 1, sizeof(*t->prints));
    if (!t->prints)
        return qb_fail_memory(err);
    return qb_tables_scan(&(struct qb_table_scan){t->io, t->img, &t->tables, true, print_table, t},
                          err);
}

/* ---- layers ---------------------------------------------------------------------------------- */

struct layer {
    struct qb_taking *t;
    struct qb_hasher *hasher;
    bool active;
    uint64_t disk;      /* units that its disk takes in its L1 table; VM state is counted apart */
    uint64_t next, end; /* units whose clusters will have to read zero, table or not */
};

#define VM_STATE (UINT64_C(1) << 63) /* in the number of a unit: counted from the state's begin */

static void add_unit(struct layer *l, uint64_t number, struct qb_digest d)
{
    uint64_t place = number < l->disk ? number : VM_STATE | (number - l->disk);
    uint64_t words[3] = {place, d.low, d.high};

    if (!qb_digest_is_empty(d))
        qb_hasher_add(l->hasher, words, sizeof(words));
}

/* Skips L1 entries for which the chain has nothing allocated: they need no zeros. */
static int skip_empty(struct layer *l, struct qb_err *err)
{
    const struct qb_geom *g = &l->t->img->geom;
    uint64_t unit = l->t->unit, guest = l->next * unit * g->cluster_size;
    uint64_t left = (l->end - l->next) * unit, alike;
    bool empty;

    if (!qb_content_needs_proof(l->t, guest))
        return 0;
    if (qb_content_below(l->t, (struct qb_range){guest, l->t->rules->new_size}, left, &alike,
                         &empty, err) < 0)
        return -1;
    if (empty)
        l->next += alike / unit;
    return 0;
}

/* Adds L1 entries up to `end` without a table, where an image that grows will read zero. */
static int add_blanks(struct layer *l, uint64_t end, struct qb_err *err)
{
    for (; l->next < QB_MIN(l->end, end); l->next++) {
        struct qb_digest d;

        if (qb_io_go_on(l->t->io, err) < 0 || skip_empty(l, err) < 0)
            return -1;
        if (l->next >= QB_MIN(l->end, end))
            break;
        if (qb_content_unit(l->t, NULL, l->next * l->t->unit, true, &d, err) < 0)
            return -1;
        add_unit(l, l->next, d);
    }
    return 0;
}

static int add_entry(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    struct layer *l = arg;
    struct qb_taking *t = l->t;
    const struct qb_l2_table *which = qb_tables_find(&t->tables, entry & QB_ENTRY_OFFSET);
    const struct qb_table_print *p =
        which ? &t->prints[(size_t)(which - t->tables.items) * t->n_units] : NULL;

    if (!p || !p->seen)
        return 0;
    for (unsigned i = 0; i < t->n_units; i++, p++) {
        uint64_t number = (uint64_t)index * t->n_units + i;

        if (add_blanks(l, number, err) < 0)
            return -1;
        add_unit(l, number, l->active ? p->active : p->whole);
        l->next = QB_MAX(l->next, number + 1);
    }
    return 0;
}

/* Where an image that grows over its backing file will need zeros: see add_blanks. */
static void find_blanks(struct layer *l)
{
    const struct qb_taking *t = l->t;
    uint64_t n = t->unit, cs = t->img->geom.cluster_size;
    uint64_t end = qb_min(t->blank_end, qb_div_up(t->rules->zero_from, cs));

    if (l->active && end > t->real_end) {
        l->next = t->real_end / n;
        l->end = qb_div_up(end, n);
    }
}

/* Adds a snapshot's names, times and unknown extra data.  Its two sizes are stored elsewhere once
 * an amend has given it the extra data that it lacked. */
static void add_snapshot(struct qb_hasher *hasher, const struct qb_snapshot *s)
{
    size_t moment = offsetof(struct qb_disk_snapshot, id_size);
    size_t end = offsetof(struct qb_disk_snapshot, extra_data_size);
    const uint8_t *extra = s->raw + sizeof(struct qb_disk_snapshot);
    size_t known = QB_MIN(s->extra_len, sizeof(struct qb_disk_snapshot_extra));
    uint64_t sizes[2] = {s->vm_state_size, s->disk_size};

    qb_hasher_add(hasher, s->raw + moment, end - moment);
    qb_hasher_add(hasher, extra + known, s->extra_len - known + s->id_len + s->name_len);
    qb_hasher_add(hasher, sizes, sizeof(sizes));
}

static int print_layer(struct qb_taking *t, struct qb_hasher *hasher, unsigned number,
                       struct qb_err *err)
{
    struct qb_layer which = qb_image_layer(t->img, number);
    struct layer l = {.t = t, .hasher = hasher, .active = number == 0};

    l.disk = number ? qb_geom_l1_needed(&t->img->geom, which.disk_size) * t->n_units : UINT64_MAX;
    find_blanks(&l);
    qb_hasher_reset(hasher);
    if (number > 0)
        add_snapshot(hasher, &t->img->snapshots.list.items[number - 1]);
    if (qb_image_scan_entries(&(struct qb_entry_scan){t->io, t->img, which.l1_offset, which.l1_size,
                                                      "an L1 table", add_entry, &l},
                              err) < 0 ||
        add_blanks(&l, UINT64_MAX, err) < 0)
        return -1;
    return qb_vec_push(&t->out->layers, qb_hasher_end(hasher)) ? 0 : qb_fail_memory(err);
}

static int print_layers(struct qb_taking *t, struct qb_err *err)
{
    struct qb_hasher *hasher = qb_hasher_new();
    int r = hasher ? 0 : qb_fail_memory(err);

    for (unsigned i = 0; r == 0 && i < qb_image_layers(t->img); i++)
        r = print_layer(t, hasher, i, err);
    qb_hasher_free(hasher);
    return r;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Sets what is compared of the active layer.  A last cluster within which the old or the new disk
 * ends is compared by its bytes: an amend may have had to copy it.  A cluster that it cannot read
 * it has not copied. */
static void find_ends(struct qb_taking *t)
{
    const struct qb_content_rules *rules = t->rules;
    const struct qb_geom *g = &t->img->geom;
    uint64_t kept = QB_MIN(rules->old_size, rules->new_size);

    t->real_end = qb_div_up(QB_MIN(t->img->header.size, rules->new_size), g->cluster_size);
    t->blank_end = qb_div_up(rules->new_size, g->cluster_size);
    t->edge = QB_NO_CLUSTER;
    if (rules->old_size != rules->new_size && kept % g->cluster_size &&
        !t->img->header.crypt_method)
        t->edge = kept / g->cluster_size;
}

/* Few enough windows to keep in memory, and small enough to locate a difference. */
static uint64_t window_for(uint64_t file_bytes)
{
    uint64_t bytes = WINDOW_LEAST;

    while (bytes < file_bytes / WINDOWS)
        bytes *= 2;
    return bytes;
}

static int take(struct qb_taking *t, struct qb_err *err)
{
    uint64_t limit = t->rules->memory_limit ? t->rules->memory_limit : QB_CENSUS_MEMORY;

    t->hasher = qb_hasher_new();
    t->scratch = malloc(QB_SCRATCH_BYTES);
    if (!t->hasher || !t->scratch)
        return qb_fail_memory(err);
    t->unit = t->rules->unit ? t->rules->unit : t->img->geom.l2_entries;
    t->n_units = (unsigned)(t->img->geom.l2_entries / t->unit);
    find_ends(t);
    if (gather(t, limit, err) < 0 || print_layers(t, err) < 0)
        return -1;
    if (t->edge != QB_NO_CLUSTER && qb_content_edge(t, err) < 0)
        return -1;
    return qb_content_hosts(t, err);
}

int qb_content_take(struct qb_io *io, const struct qb_image *img,
                    const struct qb_content_rules *rules, struct qb_content *out,
                    struct qb_err *err)
{
    struct qb_taking t = {.io = io, .img = img, .rules = rules, .out = out};
    int r;

    *out = (struct qb_content){.window_bytes = window_for(rules->file_bytes)};
    t.host = img->geom.external_data ? rules->data : img->file;
    if (!t.host)
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "verify: content needs the external data file");
    r = take(&t, err);
    qb_tables_free(&t.tables);
    qb_counts_free(&t.hosts);
    qb_hasher_free(t.hasher);
    free(t.prints);
    free(t.scratch);
    qb_ahead_free(&t.ahead);
    free(t.cluster);
    qb_inflater_free(t.inflater);
    return r;
}

/* ---- comparison ------------------------------------------------------------------------------ */

static int compare_layers(const struct qb_content *a, const struct qb_content *b,
                          struct qb_err *err)
{
    if (a->layers.n != b->layers.n)
        return qb_fail(err, QB_E_VERIFY, QB_NOWHERE, "the image had %zu snapshots, and now has %zu",
                       a->layers.n - 1, b->layers.n - 1);
    for (size_t i = 0; i < a->layers.n; i++) {
        if (qb_digest_equal(a->layers.items[i], b->layers.items[i]))
            continue;
        if (i == 0)
            return qb_fail(err, QB_E_VERIFY, QB_NOWHERE,
                           "the guest's disk is not what it was: the active layer maps other data");
        return qb_fail(
            err, QB_E_VERIFY, QB_NOWHERE,
            "snapshot %zu of %zu is not what it was: another name or size, or it maps other data",
            i, a->layers.n - 1);
    }
    if (!qb_digest_equal(a->edge, b->edge))
        return qb_fail(err, QB_E_VERIFY, QB_NOWHERE,
                       "the guest's disk is not what it was: its last cluster reads otherwise");
    return 0;
}

static int compare_windows(const struct qb_content *a, const struct qb_content *b,
                           struct qb_err *err)
{
    for (size_t i = 0; i < QB_MAX(a->windows.n, b->windows.n); i++) {
        const struct qb_content_window *x = i < a->windows.n ? &a->windows.items[i] : NULL;
        const struct qb_content_window *y = i < b->windows.n ? &b->windows.items[i] : NULL;
        uint64_t first;

        if (x && y && x->first == y->first && qb_digest_equal(x->digest, y->digest))
            continue;
        first = !x ? y->first : !y ? x->first : QB_MIN(x->first, y->first);
        return qb_fail(err, QB_E_VERIFY, first,
                       "guest data in bytes 0x%" PRIx64 "-0x%" PRIx64
                       " of the file is not what it was",
                       first, first + a->window_bytes);
    }
    return 0;
}

int qb_content_compare(const struct qb_content *before, const struct qb_content *after,
                       struct qb_err *err)
{
    if (compare_layers(before, after, err) < 0)
        return -1;
    return compare_windows(before, after, err);
}
