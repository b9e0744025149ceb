/* Releasing runs of clusters: against one that releases cluster by cluster. */
#include <stdlib.h>
#include <string.h>

#include "plan/release.h"
#include "dice.h"
#include "unit.h"

enum { CLUSTERS = 3000, BLOCK = 64 }; /* clusters of 512 bytes, refcounts of 64 bits */

struct bench {
    struct qb_image img;
    struct qb_request rq;
    struct qb_plan plan;
    uint64_t counts[CLUSTERS];
    bool touched[CLUSTERS / BLOCK + 1], recheck;
};

static void roll_bench(struct bench *b, struct dice *d)
{
    memset(b, 0, sizeof(*b));
    b->img.geom = (struct qb_geom){
        .cluster_bits = 9, .cluster_size = 512, .l2_entries = 64, .l2_entry_size = 8};
    b->plan.in.img = &b->img;
    b->plan.in.rq = &b->rq;
    b->plan.target.header.refcount_order = 6;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t first = roll(d, CLUSTERS), n = 1 + roll(d, CLUSTERS - (unsigned)first);
        uint64_t refs = roll(d, 2) ? 1 : roll(d, 400);

        if (qb_counts_add_data(&b->plan.census.counts, first, n, refs, QB_MARK_PLAIN, NULL) < 0)
            abort();
        for (uint64_t c = first; c < first + n; c++)
            b->counts[c] += refs;
    }
}

static void release(struct bench *b, uint64_t first, uint64_t n, uint64_t refs, bool *free_now)
{
    CU_ASSERT_EQUAL(qb_plan_release(&b->plan, first * 512, n * 512, refs, NULL), 0);
    for (uint64_t c = first; c < first + n; c++) {
        bool counted = qb_counts_page(&b->plan.census.counts, c) != NULL;

        b->counts[c] -= QB_MIN(b->counts[c], refs);
        b->touched[c / BLOCK] = true;
        b->recheck |= counted && b->counts[c] == 1;
        free_now[c] |= b->counts[c] == 0;
    }
}

static void expect_same(struct bench *b, const bool *free_now)
{
    static bool listed[CLUSTERS];
    unsigned wrong = 0, n = 0;

    memset(listed, 0, sizeof(listed));
    qb_vec_each (r, &b->plan.freed.punches)
        for (uint64_t c = r->first / 512; c < r->end / 512; c++)
            listed[c] = true;
    for (uint64_t c = 0; c < CLUSTERS; c++)
        wrong +=
            listed[c] != free_now[c] || qb_counts_get(&b->plan.census.counts, c) != b->counts[c];
    for (size_t i = 0; i <= CLUSTERS / BLOCK; i++) {
        wrong += (i < b->plan.blocks.n && b->plan.blocks.touched[i]) != b->touched[i];
        n += b->touched[i];
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(b->plan.blocks.list.n, n);
    CU_ASSERT_EQUAL(b->plan.new_tables.recheck_copied, b->recheck);
}

static void runs_are_released_as_cluster_by_cluster(void)
{
    struct dice d = dice_of(31);

    for (unsigned round = 0; round < 300; round++) {
        static struct bench b;
        bool free_now[CLUSTERS] = {false};

        roll_bench(&b, &d);
        for (unsigned i = 1 + roll(&d, 4); i; i--) {
            uint64_t first = roll(&d, CLUSTERS), most = CLUSTERS - first;

            release(&b, first, 1 + roll(&d, roll(&d, 2) ? (unsigned)most : 1), 1 + roll(&d, 3),
                    free_now);
        }
        expect_same(&b, free_now);
        qb_vec_free(&b.plan.freed.punches);
        qb_vec_free(&b.plan.blocks.list);
        free(b.plan.blocks.touched);
        qb_counts_free(&b.plan.census.counts);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(runs_are_released_as_cluster_by_cluster),
    };

    return unit_main("release", tests, UNIT_COUNT(tests));
}
