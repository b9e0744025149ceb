/* Writes the new L2 tables: each source is read once more, and filled as planned. */
#include "amend/append_parts.h"

#include <string.h>

#include "plan/new_tables.h"

struct tables_run {
    struct qb_plan *plan;
    struct qb_writer *w;
    size_t step;      /* the next to be written */
    uint8_t *scratch; /* conversions: two clusters, owned */
};

uint64_t qb_append_source(const struct qb_plan *plan, size_t table)
{
    const struct qb_new_table *t =
        table == QB_NO_TABLE ? NULL : &plan->new_tables.list.items[table];

    return t && t->source != QB_NO_TABLE && !t->all_zeros
               ? plan->census.tables.items[t->source].offset
               : 0;
}

static int fill_table(void *arg, size_t index, const uint8_t *source, struct qb_err *err)
{
    struct tables_run *run = arg;
    struct qb_plan *plan = run->plan;
    const struct qb_step *step = &plan->place.steps.items[run->step++];
    struct qb_new_parts parts = {{NULL, NULL}, plan->geom.l2_entries};

    (void)index;
    if (qb_writer_seek(run->w, step->offset, err) < 0 ||
        !(parts.part[0] = qb_writer_slot(run->w, step->len, err)))
        return -1;
    return qb_new_fill(plan, &plan->new_tables.list.items[step->index], source, &parts, err);
}

/* ---- in another geometry --------------------------------------------------------------------- */

static const struct qb_converted_table *converted_at(const struct tables_run *run, size_t step)
{
    const struct qb_plan *plan = run->plan;

    if (step >= plan->place.steps.n || plan->place.steps.items[step].kind != QB_STEP_TABLE)
        return NULL;
    return &plan->conversion.list.items[plan->place.steps.items[step].index];
}

/* One table becomes two, or more where its layers' VM state and disk move differently. */
static int split_table(void *arg, size_t index, const uint8_t *source, struct qb_err *err)
{
    struct tables_run *run = arg;
    const struct qb_converted_table *t = converted_at(run, run->step);
    size_t table = t->parts[0];
    uint64_t cs = run->plan->geom.cluster_size;
    struct qb_new_parts parts = {{NULL, NULL}, run->plan->geom.l2_entries};

    (void)index;
    memset(run->scratch, 0, 2 * cs);
    for (size_t i = run->step; (t = converted_at(run, i)) && t->parts[0] == table; i++)
        parts.part[t->half] = run->scratch + t->half * cs;
    if (qb_new_fill(run->plan, &run->plan->new_tables.list.items[table], source, &parts, err) < 0)
        return -1;
    for (; (t = converted_at(run, run->step)) && t->parts[0] == table; run->step++)
        if (qb_writer_seek(run->w, t->offset, err) < 0 ||
            qb_writer_put(run->w, parts.part[t->half], cs, cs, err) < 0)
            return -1;
    return 0;
}

/* Two tables become one: of each step the first, and then the second. */
static int join_table(void *arg, size_t index, const uint8_t *source, struct qb_err *err)
{
    struct tables_run *run = arg;
    const struct qb_converted_table *t = converted_at(run, run->step);
    uint64_t cs = run->plan->geom.cluster_size;
    unsigned which = index % 2;
    struct qb_new_parts parts = {{run->scratch + which * cs / 2, NULL},
                                 run->plan->in.img->geom.l2_entries};

    if (which == 0)
        memset(run->scratch, 0, cs);
    if (t->parts[which] != QB_NO_TABLE &&
        qb_new_fill(run->plan, &run->plan->new_tables.list.items[t->parts[which]], source, &parts,
                    err) < 0)
        return -1;
    if (which == 0)
        return 0;
    run->step++;
    if (qb_writer_seek(run->w, t->offset, err) < 0)
        return -1;
    return qb_writer_put(run->w, run->scratch, cs, cs, err);
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* The sources of the steps [first, end), in the order in which they are read; their number. */
static size_t list_sources(const struct tables_run *run, size_t first, size_t end,
                           struct qb_l2_table *list)
{
    const struct qb_plan *plan = run->plan;
    bool splits = plan->geom.l2_entry_size == 16;
    size_t n = 0, last = QB_NO_TABLE;

    for (size_t i = first; i < end; i++) {
        const struct qb_converted_table *t;

        if (!qb_plan_converts(plan)) {
            list[n++].offset = qb_append_source(plan, plan->place.steps.items[i].index);
            continue;
        }
        t = converted_at(run, i);
        if (splits && t->parts[0] == last)
            continue;
        last = t->parts[0];
        list[n++].offset = qb_append_source(plan, t->parts[0]);
        if (!splits)
            list[n++].offset = qb_append_source(plan, t->parts[1]);
    }
    return n;
}

int qb_append_tables(struct qb_writer *w, struct qb_plan *plan, size_t first, size_t end,
                     struct qb_err *err)
{
    struct tables_run run = {plan, w, first, NULL};
    bool converts = qb_plan_converts(plan), splits = plan->geom.l2_entry_size == 16;
    QB_AUTO(qb_buf) struct qb_l2_table *list = calloc(2 * (end - first), sizeof(*list));
    struct qb_tables tables = {list, 0, 0};
    struct qb_table_scan scan = {
        .io = w->io,
        .img = plan->in.img,
        .fn = !converts ? fill_table
              : splits  ? split_table
                        : join_table,
        .arg = &run,
    };
    int r;

    if (converts)
        run.scratch = malloc(2 * plan->geom.cluster_size);
    if (!list || (converts && !run.scratch)) {
        free(run.scratch);
        return qb_fail_memory(err);
    }
    tables.n = tables.cap = list_sources(&run, first, end, list);
    scan.tables = &tables;
    r = qb_tables_scan(&scan, err);
    free(run.scratch);
    return r;
}
