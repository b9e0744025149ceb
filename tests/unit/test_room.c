/* Free clusters inside an image, and what amends make of them. */
#include "plan/room.h"
#include "scratch.h"
#include "undoing.h"

enum { PAGE = QB_PAGE_COUNTS };

struct fixture {
    struct qb_counts counts;
    struct qb_room room;
    struct qb_err err;
};

static void begin(struct fixture *f, uint64_t end)
{
    *f = (struct fixture){.err = {0}};
    f->room = (struct qb_room){.counts = &f->counts, .end = end, .max_extents = SIZE_MAX};
}

static void end(struct fixture *f)
{
    qb_room_free(&f->room);
    qb_counts_free(&f->counts);
}

static void use(struct fixture *f, uint64_t first, uint64_t n)
{
    CU_ASSERT_EQUAL(qb_counts_add_data(&f->counts, first, n, 1, 0, &f->err), 0);
}

/* UINT64_MAX: there is none. */
static uint64_t take(struct fixture *f, uint64_t n)
{
    uint64_t first = UINT64_MAX;
    int r = qb_room_take(&f->room, n, &first, &f->err);

    CU_ASSERT(r >= 0);
    return r ? first : UINT64_MAX;
}

static void the_lowest_come_first_and_none_past_the_end(void)
{
    struct fixture f;

    begin(&f, 9);
    use(&f, 0, 3);
    use(&f, 4, 2);
    CU_ASSERT_EQUAL(take(&f, 1), 3);
    CU_ASSERT_EQUAL(take(&f, 1), 6);
    CU_ASSERT_EQUAL(take(&f, 1), 7);
    CU_ASSERT_EQUAL(take(&f, 1), 8);
    CU_ASSERT_EQUAL(take(&f, 1), UINT64_MAX);
    end(&f);
}

static void without_an_end_there_is_none(void)
{
    struct fixture f;
    uint64_t first, n;

    begin(&f, 0);
    CU_ASSERT_EQUAL(take(&f, 1), UINT64_MAX);
    CU_ASSERT_EQUAL(qb_room_take_some(&f.room, 9, &first, &n, &f.err), 0);
    end(&f);
}

static void what_a_plan_drops_is_none(void)
{
    struct fixture f;
    struct qb_counts_left left;

    begin(&f, 6);
    use(&f, 0, 4);
    CU_ASSERT_EQUAL(qb_counts_sub(&f.counts, 2, 1, 1, &left, &f.err), 0);
    CU_ASSERT_EQUAL(left.n_zero, 1);
    CU_ASSERT_EQUAL(take(&f, 1), 4);
    end(&f);
}

static void runs_go_on_where_nothing_is_counted(void)
{
    struct fixture f;

    begin(&f, 100 * PAGE);
    use(&f, 0, PAGE - 2);
    use(&f, 90 * PAGE + 7, 1);
    CU_ASSERT_EQUAL(take(&f, 89 * PAGE), PAGE - 2);
    CU_ASSERT_EQUAL(take(&f, PAGE + 9), 90 * PAGE + 8);
    CU_ASSERT_EQUAL(take(&f, 1), 90 * PAGE - 2);
    end(&f);
}

static void short_runs_are_left_for_others(void)
{
    struct fixture f;

    begin(&f, 30);
    use(&f, 0, 1);
    use(&f, 2, 1);
    use(&f, 5, 1);
    CU_ASSERT_EQUAL(take(&f, 4), 6);
    CU_ASSERT_EQUAL(take(&f, 1), 1);
    CU_ASSERT_EQUAL(take(&f, 2), 3);
    CU_ASSERT_EQUAL(take(&f, 1), 10);
    CU_ASSERT_EQUAL(take(&f, 20), UINT64_MAX);
    CU_ASSERT_EQUAL(take(&f, 15), 11);
    end(&f);
}

static void some_are_as_many_as_there_are_in_a_row(void)
{
    struct fixture f;
    uint64_t first = 0, n = 0;

    begin(&f, 9);
    use(&f, 3, 2);
    CU_ASSERT_EQUAL(qb_room_take_some(&f.room, 5, &first, &n, &f.err), 1);
    CU_ASSERT(first == 0 && n == 3);
    CU_ASSERT_EQUAL(qb_room_take_some(&f.room, 2, &first, &n, &f.err), 1);
    CU_ASSERT(first == 5 && n == 2);
    end(&f);
}

static void what_was_taken_can_be_put_back(void)
{
    struct fixture f;
    struct qb_room_mark mark;

    begin(&f, 40);
    use(&f, 2, 1);
    CU_ASSERT_EQUAL(take(&f, 1), 0);
    mark = f.room.at;
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(take(&f, 4), 3);
        CU_ASSERT_EQUAL(take(&f, 1), 1);
        CU_ASSERT_EQUAL(take(&f, 1), 7);
        CU_ASSERT_EQUAL(take(&f, 32), 8);
        CU_ASSERT_EQUAL(take(&f, 1), UINT64_MAX);
        qb_room_put_back(&f.room, &mark);
    }
    CU_ASSERT_EQUAL(f.room.takes.n, 1);
    end(&f);
}

static void extents_are_limited_where_they_must_be_listed(void)
{
    struct fixture f;

    begin(&f, 9);
    f.room.max_extents = 2;
    use(&f, 2, 1);
    use(&f, 4, 1);
    CU_ASSERT_EQUAL(take(&f, 1), 0);
    CU_ASSERT_EQUAL(take(&f, 1), 1); /* the same extent */
    CU_ASSERT_EQUAL(take(&f, 1), 3);
    CU_ASSERT_EQUAL(take(&f, 1), UINT64_MAX);
    end(&f);
}

/* The cost depends on what is taken. */
static void no_more_is_looked_at_than_is_needed(void)
{
    struct fixture f;

    begin(&f, 1000 * PAGE);
    for (uint64_t i = 0; i < 1000; i++)
        use(&f, i * PAGE, PAGE - 1);
    CU_ASSERT_EQUAL(take(&f, 1), PAGE - 1);
    CU_ASSERT(f.room.looked < 100 * PAGE);
    end(&f);
}

/* ---- undoing amends that used it ------------------------------------------------------------- */

#define HOLED                                                                                      \
    {                                                                                              \
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536                        \
    }
#define BACKED                                                                                     \
    {                                                                                              \
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536,                       \
        .backing_file = "base", .backing_fmt = "raw"                                               \
    }
#define ROOM .keep_undo = true, .room_first = true

static const struct change changes[] = {
    {"nothing, wide",
     HOLED,
     "H60d9zd",
     {.set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64, ROOM},
     {{0}},
     NULL},
    {"nothing, down", HOLED, "H9d2H60z9d", {.set = QB_KEY_COMPAT, .compat = 2, ROOM}, {{0}}, NULL},
    {"nothing, far", HOLED, "dH60d", {.set = QB_KEY_SIZE, .size = 3 << 20, ROOM}, {{0}}, NULL},
    {"nothing, allocated",
     HOLED,
     "dH20d",
     {.set = QB_KEY_PREALLOCATION, .preallocation = "metadata", ROOM},
     {{0}},
     NULL},
    {"a table, down",
     HOLED,
     "d2H60z9d",
     {.set = QB_KEY_COMPAT, .compat = 2, ROOM},
     {{IN_TABLE, 8, 8, 0}},
     "the amended tables were written"},
    {"a block, wide",
     HOLED,
     "H60d9",
     {.set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64, ROOM},
     {{IN_BLOCK, 8 * 63, 8, 7}},
     "the amended tables were written"},
    {"a new cluster of zeros",
     BACKED,
     "H60z9d",
     {.set = QB_KEY_COMPAT, .compat = 2, ROOM},
     {{IN_DATA, 100, 1, 1}},
     "a new cluster was written"},
};

static void an_undo_is_proved_for_each_extent(void)
{
    static const uint8_t bytes[65536] = {1};

    make_file("base", bytes, sizeof(bytes));
    amended_judge(changes, UNIT_COUNT(changes), IN_AMENDED);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(the_lowest_come_first_and_none_past_the_end),
        UNIT(without_an_end_there_is_none),
        UNIT(what_a_plan_drops_is_none),
        UNIT(runs_go_on_where_nothing_is_counted),
        UNIT(short_runs_are_left_for_others),
        UNIT(some_are_as_many_as_there_are_in_a_row),
        UNIT(what_was_taken_can_be_put_back),
        UNIT(extents_are_limited_where_they_must_be_listed),
        UNIT(no_more_is_looked_at_than_is_needed),
        UNIT(an_undo_is_proved_for_each_extent),
    };

    return scratch_main("room", tests, UNIT_COUNT(tests));
}
