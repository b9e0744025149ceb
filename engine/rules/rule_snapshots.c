/* snapshots: those that are chosen go, with their L1 tables and all references of these.
 *
 * The snapshots that stay, and the active layer, keep their tables.  Where a cluster falls to one
 * reference, the COPIED flags of active entries follow, as after any release (new_tables.c,
 * new_l1.c); with keep_undo nothing falls before the undo is given up. */
#include <stdio.h>
#include <string.h>

#include "plan/new_tables.h"
#include "plan/release.h"
#include "plan/snapshot_choice.h"

enum { NAME_BYTES = 256 }; /* of an ID or a name in a report, with its NUL */

struct going {
    uint32_t *refs; /* one a census table: references that go; owned */
    unsigned n, n_listed;
    struct qb_deleted_snapshot *list; /* in this block, as are the names: */
    char *names;
};

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    uint32_t n;

    if (!qb_asked(rq, QB_KEY_SNAPSHOTS))
        return 0;
    if (qb_snapshots_choose(img, rq, &t->deleted, &n, err) < 0)
        return -1;
    t->header.nb_snapshots -= n;
    if (n)
        t->reach = QB_REACH_TABLES;
    return n > 0;
}

/* ---- what the report lists ------------------------------------------------------------------- */

static void put_name(char *to, const char *from, size_t len)
{
    len = QB_MIN(len, NAME_BYTES - 1);
    while (len == NAME_BYTES - 1 && ((unsigned char)from[len] & 0xc0) == 0x80)
        len--; /* within a character */
    memcpy(to, from, len);
}

static void list_one(struct going *g, const struct qb_snapshot *s)
{
    const char *id = (const char *)s->raw + sizeof(struct qb_disk_snapshot) + s->extra_len;
    char *names = g->names + g->n_listed * 2 * NAME_BYTES;

    put_name(names, id, s->id_len);
    put_name(names + NAME_BYTES, id + s->id_len, s->name_len);
    g->list[g->n_listed++] = (struct qb_deleted_snapshot){
        .id = names,
        .name = names + NAME_BYTES,
        .date = qb_snapshot_date(s) / 1000000000u,
        .vm_state_size = s->vm_state_size,
    };
}

static int list_deleted(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    uint32_t n = img->header.nb_snapshots - plan->target.header.nb_snapshots;
    size_t room = QB_MIN(n, QB_SNAPSHOTS_LISTED);
    size_t size =
        sizeof(struct going) + room * (sizeof(struct qb_deleted_snapshot) + 2 * NAME_BYTES);
    struct going *g;

    if (qb_counts_hold(&plan->census.counts, size, err) < 0 ||
        !(g = qb_plan_own(plan, QB_RULE_snapshots, size, err)))
        return -1;
    g->n = n;
    g->list = (struct qb_deleted_snapshot *)(g + 1);
    g->names = (char *)(g->list + room);
    for (size_t i = 0; i < img->snapshots.list.n && g->n_listed < room; i++)
        if (!qb_target_keeps(&plan->target, i))
            list_one(g, &img->snapshots.list.items[i]);
    return 0;
}

/* ---- what goes ------------------------------------------------------------------------------- */

static int release(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;

    if (!plan->target.deleted)
        return 0;
    for (unsigned i = 1; i < qb_image_layers(img); i++) {
        struct qb_layer l = qb_image_layer(img, i);

        if (!qb_target_keeps(&plan->target, i - 1) &&
            qb_plan_release(plan, l.l1_offset, 8ull * l.l1_size, 1, err) < 0)
            return -1;
    }
    return list_deleted(plan, err);
}

static int count_entry(void *arg, uint32_t index, uint64_t entry, struct qb_err *err)
{
    struct qb_plan *plan = arg;
    struct going *g = plan->own[QB_RULE_snapshots];
    const struct qb_l2_table *t = qb_tables_find(&plan->census.tables, entry & QB_ENTRY_OFFSET);

    (void)index, (void)err;
    if (t)
        g->refs[t - plan->census.tables.items]++;
    return 0;
}

static int count_layers(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    struct qb_entry_scan scan = {
        .io = v->io, .img = plan->in.img, .what = "an L1 table", .fn = count_entry, .arg = plan};

    for (unsigned i = 1; i < qb_image_layers(plan->in.img); i++) {
        struct qb_layer l = qb_image_layer(plan->in.img, i);

        scan.offset = l.l1_offset;
        scan.entries = l.l1_size;
        if (!qb_target_keeps(&plan->target, i - 1) && qb_image_scan_entries(&scan, err) < 0)
            return -1;
    }
    return 0;
}

/* A table loses the references of those that go, however many they are, at once. */
static int drop_table(struct qb_visit *v, size_t index, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    struct going *g = plan->own[QB_RULE_snapshots];
    const struct qb_table_note *note = &plan->census.notes[index];
    struct qb_l2_table *t = &plan->census.tables.items[index];

    t->refs -= g->refs[index];
    plan->new_tables.gone[index] = t->refs == 0;
    if (note->data + note->zero_allocated + note->compressed &&
        qb_counts_push(&plan->census.counts, &v->tables, err, index) < 0)
        return -1;
    return qb_plan_release(plan, t->offset, plan->in.img->geom.cluster_size, g->refs[index], err);
}

static int release_entries(void *arg, size_t index, const uint8_t *table, struct qb_err *err)
{
    struct qb_visit *v = arg;
    const struct going *g = v->plan->own[QB_RULE_snapshots];
    const struct qb_geom *geom = &v->plan->in.img->geom;
    uint64_t refs = g->refs[v->tables.items[index]];

    return qb_plan_release_entries(v->plan, table, 0, geom->l2_entries, refs, err);
}

static int layers(struct qb_visit *v, struct qb_err *err)
{
    struct qb_plan *plan = v->plan;
    struct going *g = plan->own[QB_RULE_snapshots];
    size_t n = plan->census.tables.n;

    if (!g)
        return 0;
    if (qb_counts_hold(&plan->census.counts, n * sizeof(*g->refs), err) < 0)
        return -1;
    g->refs = calloc(n ? n : 1, sizeof(*g->refs));
    if (!g->refs)
        return qb_fail_memory(err);
    if (count_layers(v, err) < 0)
        return -1;
    v->tables.n = 0;
    for (size_t i = 0; i < n; i++) {
        if (i % 1024 == 0 && qb_io_go_on(v->io, err) < 0)
            return -1;
        if (g->refs[i] && drop_table(v, i, err) < 0)
            return -1;
    }
    if (qb_visit_scan(v, true, release_entries, err) < 0)
        return -1;
    free(qb_take(&g->refs));
    qb_counts_let_go(&plan->census.counts, n * sizeof(*g->refs));
    return 0;
}

/* ---- afterwards ------------------------------------------------------------------------------ */

static int verify(struct qb_io *io, const struct qb_plan *plan, const struct qb_image *now,
                  struct qb_err *err)
{
    const struct qb_snapshot_table *old = &plan->in.img->snapshots;
    size_t n = 0;

    (void)io;
    for (size_t i = 0; plan->target.deleted && i < old->list.n; i++) {
        const struct qb_snapshot *s = &old->list.items[i];

        if (!qb_target_keeps(&plan->target, i))
            continue;
        if (n >= now->snapshots.list.n || !qb_snapshot_same(s, &now->snapshots.list.items[n]) ||
            now->snapshots.list.items[n].l1_size != qb_plan_l1_size(plan, (unsigned)i + 1))
            return qb_fail(err, QB_E_VERIFY, now->header.snapshots_offset,
                           "snapshot %zu of the amended image is not the one that was to stay", n);
        n++;
    }
    return 0;
}

static void report(const struct qb_plan *plan, struct qb_result *result)
{
    const struct going *g = plan->own[QB_RULE_snapshots];

    if (!g)
        return;
    result->n_snapshots_deleted = g->n;
    result->n_snapshots_listed = g->n_listed;
    result->snapshots_deleted = g->list;
}

static void drop(void *own)
{
    struct going *g = own;

    free(qb_take(&g->refs));
}

const struct qb_rule qb_rule_snapshots = {
    .name = "snapshots",
    .resolve = resolve,
    .release = release,
    .layers = layers,
    .verify = verify,
    .report = report,
    .drop = drop,
};
