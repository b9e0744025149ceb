/* The counts of references: sparse, wide where they must be, and with runs behind. */
#include <string.h>

#include "check/counts.h"
#include "qcow2/refcount.h"
#include "unit.h"

/* What is left of a cluster's count. */
static uint64_t sub(struct qb_counts *c, uint64_t cluster, uint64_t n)
{
    struct qb_counts_left left;

    CU_ASSERT_EQUAL(qb_counts_sub(c, cluster, 1, n, &left, NULL), 0);
    CU_ASSERT_EQUAL(left.n, 1);
    CU_ASSERT_EQUAL(left.n_zero, qb_counts_get(c, cluster) == 0);
    return qb_counts_get(c, cluster);
}

/* From each of the clusters, all marked PLAIN, of which `plain` has the counts. */
static void sub_all(struct qb_counts *c, uint64_t *plain, uint64_t first, uint64_t end, uint64_t n)
{
    struct qb_counts_left left;

    for (; first < end; first += left.n) {
        uint64_t n_zero = 0, n_one = 0;

        CU_ASSERT_EQUAL(qb_counts_sub(c, first, end - first, n, &left, NULL), 0);
        CU_ASSERT_EQUAL_FATAL(left.n, QB_MIN(end - first, 512 - first % 512));
        for (uint64_t i = first; i < first + left.n; i++) {
            plain[i] -= QB_MIN(plain[i], n);
            n_zero += plain[i] == 0;
            n_one += plain[i] == 1;
            CU_ASSERT_EQUAL(qb_counts_get(c, i), plain[i]);
            CU_ASSERT_NOT_EQUAL(qb_counts_marks(c, i) & QB_MARK_DROPPED, 0);
        }
        CU_ASSERT_EQUAL(left.n_zero, n_zero);
        CU_ASSERT_EQUAL(left.is_one_of_plain, n_one != 0);
    }
}

static void cluster_that_nobody_counted_has_count_0(void)
{
    struct qb_counts c = {0};

    CU_ASSERT_EQUAL(qb_counts_get(&c, 0), 0);
    CU_ASSERT_EQUAL(qb_counts_get(&c, UINT64_MAX), 0);
    CU_ASSERT_EQUAL(qb_counts_marks(&c, 5), 0);
    CU_ASSERT_EQUAL(sub(&c, 5, 1), 0);
    CU_ASSERT_EQUAL(qb_counts_end(&c), 0);
    CU_ASSERT(!qb_counts_any(&c, 0, 1000));
    qb_counts_free(&c);
}

static void counts_add_up_across_pages(void)
{
    struct qb_counts c = {0};

    for (uint64_t i = 0; i < 3000; i += 7)
        CU_ASSERT_EQUAL(qb_counts_add(&c, i * 1000, i % 5, 0, NULL), 0);
    for (uint64_t i = 0; i < 3000; i += 7)
        CU_ASSERT_EQUAL(qb_counts_add(&c, i * 1000, 2, QB_MARK_META, NULL), 0);
    for (uint64_t i = 0; i < 3000; i += 7) {
        CU_ASSERT_EQUAL(qb_counts_get(&c, i * 1000), i % 5 + 2);
        CU_ASSERT_EQUAL(qb_counts_marks(&c, i * 1000), QB_MARK_META);
        CU_ASSERT_EQUAL(qb_counts_get(&c, i * 1000 + 1), 0);
    }
    CU_ASSERT_EQUAL(qb_counts_end(&c), 2996 * 1000 + 1);
    qb_counts_free(&c);
}

static void count_passes_what_a_byte_holds(void)
{
    struct qb_counts c = {0};
    uint64_t where = 0;

    CU_ASSERT_EQUAL(qb_counts_add(&c, 9, 255, 0, NULL), 0);
    CU_ASSERT_EQUAL(qb_counts_add(&c, 8, 3, 0, NULL), 0);
    CU_ASSERT_EQUAL(qb_counts_add(&c, 9, 1, 0, NULL), 0);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 9), 256);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 8), 3);
    CU_ASSERT_EQUAL(qb_counts_add(&c, 9, 1ull << 40, 0, NULL), 0);
    CU_ASSERT_EQUAL(qb_counts_max(&c, &where), (1ull << 40) + 256);
    CU_ASSERT_EQUAL(where, 9);
    CU_ASSERT_EQUAL(sub(&c, 9, 1ull << 40), 256);
    CU_ASSERT_EQUAL(sub(&c, 9, 1000), 0); /* never below 0 */
    CU_ASSERT_EQUAL(sub(&c, 8, 1), 2);
    qb_counts_free(&c);
}

static void data_over_metadata_is_marked(void)
{
    struct qb_counts c = {0};

    CU_ASSERT_EQUAL(qb_counts_add(&c, 600, 1, QB_MARK_META, NULL), 0);
    CU_ASSERT_EQUAL(qb_counts_add_data(&c, 500, 1000, 2, QB_MARK_COPIED, NULL), 0);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 499), 0);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 500), 2);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 600), 3);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 1499), 2);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 1500), 0);
    CU_ASSERT_EQUAL(qb_counts_marks(&c, 600), QB_MARK_META | QB_MARK_COPIED | QB_MARK_OVERLAP);
    CU_ASSERT_EQUAL(qb_counts_marks(&c, 601), QB_MARK_COPIED);
    CU_ASSERT_EQUAL(qb_counts_add_data(&c, 500, 3, 300, 0, NULL), 0); /* wider than a byte */
    CU_ASSERT_EQUAL(qb_counts_get(&c, 501), 302);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 503), 2);
    qb_counts_free(&c);
}

/* Many pages that are alike, then single clusters of them that are not: against a plain array. */
static void pages_of_alike_clusters_split_where_one_changes(void)
{
    enum { CLUSTERS = 4096 };
    static uint64_t plain[CLUSTERS];
    struct qb_counts c = {0};
    uint32_t x = 12345;

    memset(plain, 0, sizeof(plain));
    CU_ASSERT_EQUAL(qb_counts_add_data(&c, 0, CLUSTERS, 0, QB_MARK_PLAIN, NULL), 0);
    for (unsigned round = 0; round < 400; round++) {
        unsigned first, n, by;

        x = x * 1664525 + 1013904223;
        first = (x >> 8) % CLUSTERS / (round % 3 ? 512 : 1) * (round % 3 ? 512 : 1);
        n = round % 3 ? 512 * (1 + (x >> 28) % 3) : 1 + (x >> 24) % 5;
        n = QB_MIN(n, CLUSTERS - first);
        by = (x >> 20) % (round % 5 ? 3 : 600);
        if (round % 7 > 4)
            sub_all(&c, plain, first, first + n, by);
        for (unsigned i = first; i < first + n && round % 7 <= 4; i++)
            plain[i] += by;
        if (round % 7 <= 4)
            CU_ASSERT_EQUAL(qb_counts_add_data(&c, first, n, by, 0, NULL), 0);
    }
    for (unsigned i = 0; i < CLUSTERS; i++)
        CU_ASSERT_EQUAL(qb_counts_get(&c, i), plain[i]);
    qb_counts_free(&c);
}

static void runs_answer_like_pages(void)
{
    struct qb_counts c = {0};
    uint64_t where;

    CU_ASSERT_EQUAL(qb_counts_add(&c, 90, 1, 0, NULL), 0);
    CU_ASSERT_EQUAL(qb_counts_append(&c, 100, 10, 1, NULL), 0);
    CU_ASSERT_EQUAL(qb_counts_append(&c, 110, 5, 1, NULL), 0); /* joins the one before */
    CU_ASSERT_EQUAL(qb_counts_append(&c, 115, 0, 9, NULL), 0); /* nothing */
    CU_ASSERT_EQUAL(qb_counts_append(&c, 115, 1ull << 40, 7, NULL), 0);
    CU_ASSERT_EQUAL(c.runs.n, 2);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 99), 0);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 100), 1);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 114), 1);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 115), 7);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 114 + (1ull << 40)), 7);
    CU_ASSERT_EQUAL(qb_counts_get(&c, 115 + (1ull << 40)), 0);
    CU_ASSERT_EQUAL(qb_counts_end(&c), 115 + (1ull << 40));
    CU_ASSERT_EQUAL(qb_counts_max(&c, &where), 7);
    CU_ASSERT_EQUAL(where, 115);
    CU_ASSERT(qb_counts_any(&c, 91, 101));
    CU_ASSERT(!qb_counts_any(&c, 91, 100));
    CU_ASSERT(qb_counts_any(&c, 80, 91));
    qb_counts_free(&c);
}

static void block_shows_the_counts_of_its_range(void)
{
    for (unsigned order = 0; order <= 6; order++) {
        uint64_t n = 512 * 8 >> order, first = 3 * n, most = qb_min(qb_refcount_max(order), 300);
        uint8_t block[512];
        struct qb_counts c = {0};

        memset(block, 0xff, sizeof(block));
        CU_ASSERT_EQUAL(qb_counts_add(&c, first - 1, 1, 0, NULL), 0);
        CU_ASSERT_EQUAL(qb_counts_add(&c, first, 1, 0, NULL), 0);
        CU_ASSERT_EQUAL(qb_counts_add(&c, first + n / 2, most, 0, NULL), 0);
        CU_ASSERT_EQUAL(qb_counts_append(&c, first + n - 2, 20, 1, NULL), 0);
        qb_counts_render(&c, first, n, order, block);
        for (uint64_t i = 0; i < n; i++)
            CU_ASSERT_EQUAL(qb_refcount_get(block, i, order), qb_counts_get(&c, first + i));
        CU_ASSERT_EQUAL(qb_refcount_get(block, 0, order), 1);
        CU_ASSERT_EQUAL(qb_refcount_get(block, n / 2, order), most);
        CU_ASSERT_EQUAL(qb_refcount_get(block, n - 1, order), 1);
        qb_counts_free(&c);
    }
}

static void counting_stops_at_the_memory_limit(void)
{
    struct qb_counts c = {.memory_limit = 100000};
    struct qb_err err = {.code = QB_E_NONE};
    uint64_t i = 0;

    while (qb_counts_add(&c, i * 512, 1, 0, &err) == 0 && i < 1000)
        i++;
    CU_ASSERT(i > 20 && i < 200);
    CU_ASSERT_EQUAL(err.code, QB_E_MEMORY);
    CU_ASSERT(c.memory <= 100000);
    CU_ASSERT_EQUAL(qb_counts_get(&c, (i - 1) * 512), 1); /* what was counted stays */
    qb_counts_free(&c);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(cluster_that_nobody_counted_has_count_0),
        UNIT(counts_add_up_across_pages),
        UNIT(count_passes_what_a_byte_holds),
        UNIT(data_over_metadata_is_marked),
        UNIT(pages_of_alike_clusters_split_where_one_changes),
        UNIT(runs_answer_like_pages),
        UNIT(block_shows_the_counts_of_its_range),
        UNIT(counting_stops_at_the_memory_limit),
    };

    return unit_main("counts", tests, UNIT_COUNT(tests));
}
