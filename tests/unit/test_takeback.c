/* Undoing a run, seen at the barriers: what the file holds at each, and what is said when one
 * fails. */
#include "kept_run.h"

static void an_undo_is_done_once_a_barrier_has_covered_it(void)
{
    struct kept k;

    kept_begin(&k);
    take_back(&k, UNDO);
    CU_ASSERT_EQUAL(last_status, QB_STATUS_CHANGED);
    CU_ASSERT_EQUAL(n_image_syncs, 1);
    CU_ASSERT_FALSE(syncs[0].of_image); /* the journal says `undoing` before anything is written */
    CU_ASSERT_NOT_EQUAL(memcmp(syncs[0].header, k.old, SECTOR), 0);
    CU_ASSERT_TRUE(syncs[1].of_image);
    CU_ASSERT_EQUAL(memcmp(syncs[1].header, k.old, SECTOR), 0);
    CU_ASSERT_EQUAL(syncs[1].length, k.length); /* nothing was cut before */
    kept_end(&k);

    kept_begin(&k);
    fails_at = 1;
    take_back(&k, UNDO);
    CU_ASSERT_EQUAL(last_status, QB_STATUS_FAILED);
    CU_ASSERT_EQUAL(last_code, QB_E_DURABILITY);
    kept_end(&k);

    kept_begin(&k);
    meddles_at = 1;
    take_back(&k, UNDO);
    CU_ASSERT_EQUAL(last_status, QB_STATUS_FAILED);
    CU_ASSERT_EQUAL(last_code, QB_E_VERIFY);
    kept_end(&k);
}

/* An undo before it may have been killed before its barrier. */
static void what_is_undone_already_is_synced_too(void)
{
    for (unsigned fails = 0; fails <= 1; fails++) {
        struct kept k;

        kept_begin(&k);
        take_back(&k, UNDO);
        fails_at = fails;
        take_back(&k, UNDO);
        CU_ASSERT_EQUAL(n_image_syncs, 1);
        CU_ASSERT_EQUAL(last_status, fails ? QB_STATUS_FAILED : QB_STATUS_UNCHANGED);
        CU_ASSERT_EQUAL(last_code, fails ? QB_E_DURABILITY : QB_E_NONE);
        kept_end(&k);
    }
}

static void what_the_journal_says_of_an_undo(void)
{
    struct kept k;
    uint64_t length;

    kept_begin(&k);
    take_back(&k, UNDO_DRY);
    CU_ASSERT_EQUAL(last_status, QB_STATUS_WOULD_CHANGE);
    read_again(&k);
    CU_ASSERT_FALSE(k.trace->undone);

    cut_fails = true; /* the image is the old one, and has a tail that the next undo cuts off */
    take_back(&k, UNDO);
    CU_ASSERT_EQUAL(last_status, QB_STATUS_FAILED);
    CU_ASSERT(header_is(&k, k.old));
    read_again(&k);
    CU_ASSERT(k.trace->undone && k.trace->tail_left);

    take_back(&k, UNDO);
    CU_ASSERT_EQUAL(last_status, QB_STATUS_CHANGED);
    read_again(&k);
    CU_ASSERT(k.trace->undone && !k.trace->tail_left);

    length = k.journal.length;
    take_back(&k, UNDO_DRY);
    CU_ASSERT_EQUAL(last_status, QB_STATUS_UNCHANGED);
    CU_ASSERT_EQUAL(k.journal.length, length);
    kept_end(&k);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(an_undo_is_done_once_a_barrier_has_covered_it),
        UNIT(what_is_undone_already_is_synced_too),
        UNIT(what_the_journal_says_of_an_undo),
    };

    return scratch_main("takeback", tests, UNIT_COUNT(tests));
}
