/* What a request for a size means: kept, set, added, or at least. */
#include "base/sizing.h"
#include "unit.h"

static void each_kind_of_size_is_what_it_says(void)
{
    static const struct {
        unsigned set;
        enum qb_size_is is;
        uint64_t asked, present, size;
        bool adds, may_shrink;
    } rows[] = {
        {QB_KEY_COMPAT, QB_SIZE_SET, 5, 7, 7, false, false},
        {QB_KEY_COMPAT, QB_SIZE_ADDED, 5, 7, 7, false, false},
        {QB_KEY_COMPAT, QB_SIZE_AT_LEAST, 9, 7, 7, false, false},
        {QB_KEY_SIZE, QB_SIZE_SET, 5, 7, 5, false, true},
        {QB_KEY_SIZE, QB_SIZE_SET, 9, 7, 9, false, true},
        {QB_KEY_SIZE, QB_SIZE_ADDED, 5, 7, 12, true, false},
        {QB_KEY_SIZE | QB_KEY_COMPAT, QB_SIZE_ADDED, UINT64_MAX - 7, 7, UINT64_MAX, true, false},
        {QB_KEY_SIZE, QB_SIZE_AT_LEAST, 5, 7, 7, false, false},
        {QB_KEY_SIZE, QB_SIZE_AT_LEAST, 9, 7, 9, false, false},
    };

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        const struct qb_request rq = {
            .set = rows[i].set, .size = rows[i].asked, .size_is = rows[i].is};
        uint64_t size;

        CU_ASSERT_TRUE(qb_sizing_of(&rq, rows[i].present, &size));
        CU_ASSERT_EQUAL(size, rows[i].size);
        CU_ASSERT_EQUAL(qb_sizing_adds(&rq), rows[i].adds);
        CU_ASSERT_EQUAL(qb_sizing_may_shrink(&rq), rows[i].may_shrink);
    }
}

static void a_sum_above_64_bits_is_none(void)
{
    const struct qb_request rq = {
        .set = QB_KEY_SIZE, .size = UINT64_MAX - 6, .size_is = QB_SIZE_ADDED};
    uint64_t size;

    CU_ASSERT_FALSE(qb_sizing_of(&rq, 7, &size));
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(each_kind_of_size_is_what_it_says),
        UNIT(a_sum_above_64_bits_is_none),
    };

    return unit_main("sizing", tests, UNIT_COUNT(tests));
}
