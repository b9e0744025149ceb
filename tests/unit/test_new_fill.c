/* That a table whose kinds of entries have one fate each is filled as one is run by run. */
#include <stdlib.h>
#include <string.h>

#include "plan/new_tables.h"
#include "dice.h"
#include "unit.h"

enum { ENTRIES = 64 }; /* a table, of clusters of 512 bytes */

struct bench {
    struct qb_image img;
    struct qb_request rq;
    struct qb_plan plan;
    struct qb_new_table table;
    struct qb_zeros_extent extents[2];
    uint8_t source[512];
};

/* Ends each run of entries soon: a table is then filled run by run, whatever the other rules say.
 */
static void cut_short(const struct qb_plan *plan, const struct qb_new_table *t,
                      struct qb_entries *e)
{
    (void)plan, (void)t;
    e->n = QB_MIN(e->n, 7);
}

/* Entries of all plain kinds, and now and then one that is not. */
static uint64_t roll_entry(struct dice *d, bool odd)
{
    uint64_t place = (uint64_t)(1 + roll(d, 1100)) << 9 | (roll(d, 2) ? QB_ENTRY_COPIED : 0);

    switch (roll(d, 4 + (odd && roll(d, 4) == 0))) {
    case 0:
        return roll(d, 3) ? 0 : 1;
    case 1:
        return QB_ENTRY_ZERO;
    case 2:
        return place | QB_ENTRY_ZERO;
    case 4:
        return roll(d, 2) ? QB_ENTRY_COPIED : QB_ENTRY_COMPRESSED | (place & QB_ENTRY_OFFSET);
    default:
        return place;
    }
}

/* Some of the pages have counts that are all alike. */
static void roll_counts(struct dice *d, struct qb_counts *counts)
{
    static const uint64_t often[] = {1, 2, 300};

    if (roll(d, 2) && qb_counts_add_data(counts, 0, 512, often[roll(d, 3)], 0, NULL) == 0 &&
        qb_counts_add_data(counts, 512, 512, often[roll(d, 3)], 0, NULL) == 0 && roll(d, 2))
        return;
    for (unsigned i = 0; i < 1024; i++) /* the clusters after them have no page */
        if (roll(d, 4) && qb_counts_add(counts, i, roll(d, 2) ? 1 : roll(d, 3), 0, NULL) < 0)
            abort();
    if (roll(d, 2) && qb_counts_add(counts, roll(d, 512), 300, 0, NULL) < 0)
        abort();
}

static void roll_bench(struct bench *b, struct dice *d)
{
    bool odd = roll(d, 2), in_a_row = roll(d, 2);
    unsigned last = roll(d, 2) ? ENTRIES : roll(d, ENTRIES);
    uint64_t first;

    memset(b, 0, sizeof(*b));
    b->img.geom = (struct qb_geom){.cluster_bits = 9,
                                   .cluster_size = 512,
                                   .l2_entries = ENTRIES,
                                   .l2_entry_size = 8,
                                   .l1_span = ENTRIES * 512};
    b->plan.geom = b->img.geom;
    b->plan.in.img = &b->img;
    b->plan.in.rq = &b->rq;
    b->plan.target.header.version = 2 + roll(d, 2);
    b->plan.target.header.size = 128 << 10;
    b->plan.target.header.refcount_order = roll(d, 5);
    b->plan.below.size = roll(d, 2) ? 128 << 10 : 0;
    b->plan.new_tables.deciders[0] = qb_rule_size.entries;
    b->plan.new_tables.deciders[1] = qb_rule_compat.encode;
    b->plan.new_tables.n_deciders = 2;
    b->extents[0] = (struct qb_zeros_extent){0, 10, 4096 * 512};
    b->extents[1] = (struct qb_zeros_extent){10, 200, 8192 * 512};
    b->plan.zeros.extents.items = b->extents;
    b->plan.zeros.extents.n = 2;
    b->plan.zeros.n = 210;
    b->table.l1_index = 1;
    b->table.active = roll(d, 2);
    b->table.refs = 1 + roll(d, 2);
    b->table.new_first = roll(d, 12);
    roll_counts(d, &b->plan.census.counts);
    first = roll(d, 2) ? roll_entry(d, odd) : (uint64_t)(440 + roll(d, 72)) << 9; /* page's end */
    for (unsigned i = 0; i < ENTRIES; i++)
        qb_l2_put(&b->img.geom, b->source, i,
                  in_a_row && (last > i || !roll(d, 9)) ? first + i * 512 : roll_entry(d, odd));
}

/* Fills a table of random entries as it is usually filled, and run by run: with the same bytes, or
 * not at all the one way, since an entry is not plain. */
static bool fill_both_ways(struct dice *d)
{
    uint8_t plain[512], by_run[512];
    struct qb_new_parts parts = {{plain, NULL}, ENTRIES};
    struct bench b;
    bool taken;

    roll_bench(&b, d);
    taken = qb_new_fill_plain(&b.plan, &b.table, b.source, &parts, &b.table.n_new);
    b.plan.new_tables.deciders[b.plan.new_tables.n_deciders++] = cut_short;
    parts.part[0] = by_run;
    CU_ASSERT_FALSE(qb_new_fill_plain(&b.plan, &b.table, b.source, &parts, &b.table.n_new));
    if (taken) {
        CU_ASSERT_EQUAL(qb_new_fill(&b.plan, &b.table, b.source, &parts, NULL), 0);
        CU_ASSERT_EQUAL(memcmp(plain, by_run, sizeof(plain)), 0);
    }
    qb_counts_free(&b.plan.census.counts);
    return taken;
}

static void a_plain_table_is_filled_as_run_by_run(void)
{
    struct dice d = dice_of(23);
    unsigned n = 0;

    for (unsigned round = 0; round < 3000; round++)
        n += fill_both_ways(&d);
    CU_ASSERT(n > 1000 && n < 2500);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_plain_table_is_filled_as_run_by_run),
    };

    return unit_main("new_fill", tests, UNIT_COUNT(tests));
}
