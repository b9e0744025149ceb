/* Freeing what the undo of a run needs, seen at the barriers: what the file holds at each, and what
 * is said when one fails. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kept_run.h"

static void a_discard_is_an_amend_with_both_barriers(void)
{
    struct kept k;
    unsigned before = 0, after = 0;

    kept_begin(&k);
    take_back(&k, DISCARD);
    CU_ASSERT_EQUAL(last_status, QB_STATUS_CHANGED);
    CU_ASSERT_FALSE(header_is(&k, k.now));
    for (unsigned i = 0; i < n_syncs; i++) {
        bool old = memcmp(syncs[i].header, k.now, SECTOR) == 0;

        before += old;
        after += !old && syncs[i].of_image;
        CU_ASSERT(syncs[i].length > k.length);
        CU_ASSERT(syncs[i].noted);
    }
    CU_ASSERT_EQUAL(before, 2); /* the journal, which knows of the new header, and the tables */
    CU_ASSERT_EQUAL(after, 1);
    kept_end(&k);
}

static void what_is_discarded_already_is_synced_too(void)
{
    for (unsigned fails = 0; fails <= 1; fails++) {
        struct kept k;

        kept_begin(&k);
        take_back(&k, DISCARD);
        read_again(&k);
        fails_at = fails;
        take_back(&k, DISCARD);
        CU_ASSERT_EQUAL(n_image_syncs, 1);
        CU_ASSERT_EQUAL(last_status, fails ? QB_STATUS_FAILED : QB_STATUS_UNCHANGED);
        kept_end(&k);
    }
}

static void what_was_freed_cannot_be_undone(void)
{
    struct kept k;

    kept_begin(&k);
    take_back(&k, DISCARD);
    read_again(&k);
    take_back(&k, UNDO);
    CU_ASSERT_EQUAL(last_status, QB_STATUS_FAILED);
    CU_ASSERT_EQUAL(last_code, QB_E_REFUSED);
    kept_end(&k);
}

static void a_first_barrier_that_fails_discards_nothing(void)
{
    for (int journal = 0; journal <= 1; journal++) {
        struct kept k;
        struct stat st;

        kept_begin(&k);
        fails_at = !journal;
        journal_fails = journal;
        take_back(&k, DISCARD);
        CU_ASSERT_EQUAL(last_status, QB_STATUS_FAILED);
        CU_ASSERT(header_is(&k, k.now));
        CU_ASSERT_EQUAL(stat(k.path, &st), 0);
        CU_ASSERT_EQUAL(st.st_size, k.length);
        kept_end(&k);
    }
}

/* Before the image has grown by one byte. */
static void what_cannot_be_recorded_is_not_discarded(void)
{
    struct kept k;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    kept_begin(&k);
    CU_ASSERT_FATAL(dup2(full, qb_journal_file(&k.journal)->fd) >= 0);
    take_back(&k, DISCARD);
    CU_ASSERT_EQUAL(last_status, QB_STATUS_FAILED);
    CU_ASSERT_EQUAL(n_image_syncs, 0);
    CU_ASSERT(header_is(&k, k.now));
    close(full);
    kept_end(&k);
}

static void a_second_barrier_that_fails_is_told_and_a_wrong_header_too(void)
{
    struct kept k;

    kept_begin(&k);
    fails_at = 2;
    take_back(&k, DISCARD);
    CU_ASSERT_EQUAL(last_status, QB_STATUS_FAILED);
    CU_ASSERT_EQUAL(last_code, QB_E_DURABILITY);
    kept_end(&k);

    kept_begin(&k);
    meddles_at = 2;
    take_back(&k, DISCARD);
    CU_ASSERT_EQUAL(last_status, QB_STATUS_FAILED);
    CU_ASSERT_EQUAL(last_code, QB_E_VERIFY);
    kept_end(&k);
}

/* What another header leads to is not what the run kept. */
static void a_header_that_changed_since_is_left_alone(void)
{
    struct kept k;
    int fd;

    kept_begin(&k);
    fd = open(k.path, O_WRONLY | O_CLOEXEC);
    CU_ASSERT_EQUAL(pwrite(fd, "\1", 1, 400), 1);
    close(fd);
    take_back(&k, DISCARD);
    CU_ASSERT_EQUAL(last_status, QB_STATUS_FAILED);
    CU_ASSERT_EQUAL(last_code, QB_E_CHANGED);
    CU_ASSERT_EQUAL(n_image_syncs, 0);
    kept_end(&k);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_discard_is_an_amend_with_both_barriers),
        UNIT(what_is_discarded_already_is_synced_too),
        UNIT(what_was_freed_cannot_be_undone),
        UNIT(a_first_barrier_that_fails_discards_nothing),
        UNIT(what_cannot_be_recorded_is_not_discarded),
        UNIT(a_second_barrier_that_fails_is_told_and_a_wrong_header_too),
        UNIT(a_header_that_changed_since_is_left_alone),
    };

    return scratch_main("discard", tests, UNIT_COUNT(tests));
}
