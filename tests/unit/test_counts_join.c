/* Counts of several threads that are joined are those of one; and a refcount block fits only if it
 * is exactly as counted. */
#include <string.h>

#include "check/block_fits.h"
#include "dice.h"
#include "qcow2/header.h"
#include "qcow2/refcount.h"
#include "unit.h"

enum { CLUSTERS = 4000, ROUNDS = 300, PARTS = 3 };

static void add_both(struct qb_counts *one, struct qb_counts *part, struct dice *d)
{
    uint64_t first = roll(d, CLUSTERS), n = 1 + roll(d, roll(d, 4) ? 20 : 1500);
    uint64_t refs = 1 + roll(d, roll(d, 3) ? 2 : 300);
    unsigned marks = roll(d, 2) ? QB_MARK_COPIED : QB_MARK_PLAIN;

    CU_ASSERT_EQUAL(qb_counts_add_data(one, first, n, refs, marks, NULL), 0);
    CU_ASSERT_EQUAL(qb_counts_add_data(part, first, n, refs, marks, NULL), 0);
}

static void joined_counts_are_those_of_one(void)
{
    struct dice d = dice_of(7);

    for (unsigned round = 0; round < ROUNDS; round++) {
        struct qb_counts one = {0}, parts[PARTS] = {{0}};
        unsigned n_adds = 1 + roll(&d, 60), differs = 0;
        int overlaps = 0;

        for (unsigned i = 0; i < 5; i++) { /* of the calling thread, before the others begin */
            uint64_t first = roll(&d, CLUSTERS), n = 1 + roll(&d, i == 0 ? 1200 : 3);

            CU_ASSERT_EQUAL(qb_counts_add_meta(&one, first, n, &overlaps, NULL), 0);
            CU_ASSERT_EQUAL(qb_counts_add_meta(&parts[0], first, n, &overlaps, NULL), 0);
        }
        for (unsigned i = 0; i < n_adds; i++)
            add_both(&one, &parts[roll(&d, PARTS)], &d);
        for (unsigned i = 1; i < PARTS; i++)
            CU_ASSERT_EQUAL(qb_counts_join(&parts[0], &parts[i], NULL), 0);
        for (uint64_t i = 0; i < CLUSTERS + 2000; i++)
            differs += qb_counts_get(&one, i) != qb_counts_get(&parts[0], i) ||
                       qb_counts_marks(&one, i) != qb_counts_marks(&parts[0], i);
        CU_ASSERT_EQUAL(differs, 0);
        CU_ASSERT_EQUAL(parts[1].n_pages, 0);
        qb_counts_free(&one);
        qb_counts_free(&parts[0]);
    }
}

static void block_fits_only_as_counted(void)
{
    for (unsigned order = 0; order <= 6; order++) {
        struct qb_header h = {.version = 3, .cluster_bits = 12, .refcount_order = order};
        struct qb_image img = {0};
        struct qb_census c = {.img = &img};
        uint8_t block[4096];
        uint64_t n;

        qb_header_geom(&h, &img.geom);
        n = img.geom.block_entries;
        for (uint64_t i = n; i < 2 * n; i += 3) /* block 1 */
            CU_ASSERT_EQUAL(qb_counts_add_data(&c.counts, i, 1, 1, QB_MARK_COPIED, NULL), 0);
        qb_counts_render(&c.counts, n, n, order, block);
        CU_ASSERT(qb_block_fits(&c, 1, block));
        for (unsigned bit = 0; bit < 8 * sizeof(block); bit += 7) {
            block[bit / 8] ^= (uint8_t)(1u << bit % 8);
            CU_ASSERT(!qb_block_fits(&c, 1, block));
            block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        CU_ASSERT_EQUAL(qb_counts_add(&c.counts, n + 3, 0, QB_MARK_PLAIN, NULL), 0);
        CU_ASSERT(!qb_block_fits(&c, 1, block)); /* its one reference lacks the flag */
        qb_counts_free(&c.counts);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(joined_counts_are_those_of_one),
        UNIT(block_fits_only_as_counted),
    };

    return unit_main("counts_join", tests, UNIT_COUNT(tests));
}
