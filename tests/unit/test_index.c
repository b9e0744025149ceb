/* The hash table of base/index.h: every item is found by its key, and by no other. */
#include <stdlib.h>

#include "base/index.h"
#include "dice.h"
#include "unit.h"

enum { ITEMS = 5000 };

struct list {
    uint64_t keys[ITEMS];
    size_t n;
    struct qb_index ix;
};

static void add(struct list *l, uint64_t key)
{
    CU_ASSERT_FATAL(qb_index_room(&l->ix, 1));
    l->keys[l->n] = key;
    qb_index_add(&l->ix, key, l->n++);
}

/* The first item with this key, or SIZE_MAX. */
static size_t find(const struct list *l, uint64_t key)
{
    struct qb_probe p = qb_index_probe(&l->ix, key);

    while (qb_index_next(&l->ix, &p))
        if (l->keys[p.item] == key)
            return p.item;
    return SIZE_MAX;
}

static void nothing_is_found_in_an_empty_one(void)
{
    struct list l = {.n = 0};

    CU_ASSERT_EQUAL(find(&l, 0), SIZE_MAX);
    CU_ASSERT_EQUAL(qb_index_memory(&l.ix), 0);
    qb_index_clear(&l.ix);
    qb_index_free(&l.ix);
    qb_index_free(&l.ix);
}

/* Keys in a row, multiples of large powers of two, and what only differs in the upper half. */
static void every_item_is_found_and_no_other(void)
{
    static const struct {
        uint64_t first, step;
    } rows[] = {{0, 1}, {1, 512}, {0, 1 << 21}, {7, 1ull << 40}, {0, 1ull << 32}};

    for (size_t r = 0; r < UNIT_COUNT(rows); r++) {
        struct list l = {.n = 0};
        size_t wrong = 0;

        for (size_t i = 0; i < ITEMS; i++)
            add(&l, rows[r].first + i * rows[r].step);
        for (size_t i = 0; i < ITEMS; i++)
            wrong += find(&l, rows[r].first + i * rows[r].step) != i;
        CU_ASSERT_EQUAL(wrong, 0);
        CU_ASSERT_EQUAL(find(&l, rows[r].first + ITEMS * rows[r].step), SIZE_MAX);
        CU_ASSERT_EQUAL(find(&l, rows[r].first + 3), 3 % rows[r].step ? SIZE_MAX : 3);
        qb_index_free(&l.ix);
    }
}

/* Where lists have several items of one key, the first is the one that counts. */
static void equal_keys_keep_their_order(void)
{
    for (unsigned seed = 0; seed < 20; seed++) {
        struct dice dice = dice_of(seed);
        struct list l = {.n = 0};
        size_t wrong = 0, first[64];

        for (size_t k = 0; k < 64; k++)
            first[k] = SIZE_MAX;
        while (l.n < 1000) {
            uint64_t k = roll(&dice, 64);

            if (first[k] == SIZE_MAX)
                first[k] = l.n;
            add(&l, k << 20);
        }
        for (uint64_t k = 0; k < 64; k++)
            wrong += find(&l, k << 20) != first[k];
        CU_ASSERT_EQUAL(wrong, 0);
        qb_index_free(&l.ix);
    }
}

static void what_is_cleared_is_empty_and_can_be_filled_again(void)
{
    struct list l = {.n = 0};

    for (size_t i = 0; i < 100; i++)
        add(&l, i);
    qb_index_clear(&l.ix);
    l.n = 0;
    CU_ASSERT_EQUAL(find(&l, 5), SIZE_MAX);
    add(&l, 5);
    CU_ASSERT_EQUAL(find(&l, 5), 0);
    CU_ASSERT_EQUAL(find(&l, 6), SIZE_MAX);
    qb_index_free(&l.ix);
}

/* Limits of memory are asked before it is allocated. */
static void what_it_takes_is_known_before(void)
{
    struct list l = {.n = 0};
    size_t wrong = 0;

    for (size_t i = 0; i < ITEMS; i++) {
        size_t had = qb_index_memory(&l.ix), wants = qb_index_wants(&l.ix);

        add(&l, i);
        wrong += qb_index_memory(&l.ix) != (wants ? wants : had);
        wrong += l.ix.n > qb_index_memory(&l.ix) / sizeof(*l.ix.slots) / 2;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_FALSE(qb_index_room(&l.ix, SIZE_MAX / 2)); /* and it is as it was */
    CU_ASSERT_EQUAL(find(&l, ITEMS - 1), ITEMS - 1);
    qb_index_free(&l.ix);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(nothing_is_found_in_an_empty_one),
        UNIT(every_item_is_found_and_no_other),
        UNIT(equal_keys_keep_their_order),
        UNIT(what_is_cleared_is_empty_and_can_be_filled_again),
        UNIT(what_it_takes_is_known_before),
    };

    return unit_main("index", tests, UNIT_COUNT(tests));
}
