/* When a journal is synced, and that a sync which failed is never forgotten. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "journal/journal.h"
#include "scratch.h"

static unsigned n_syncs;
static int sync_fails; /* errno */

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

/* The linker leads the program's calls here. */
int __wrap_fdatasync(int fd)
{
    n_syncs++;
    errno = sync_fails;
    return sync_fails ? -1 : __real_fdatasync(fd);
}

static void a_record(struct qb_journal *j)
{
    qb_journal_begin(j, "run");
    qb_journal_text(j, "run", "20260101-000000-000001");
    qb_journal_end(j);
}

static void a_sync_syncs_and_its_failure_lasts(void)
{
    struct qb_journal j;

    CU_ASSERT_EQUAL_FATAL(qb_journal_create(in_folder("a-000001.journal"), &j, NULL), 0);
    a_record(&j);
    CU_ASSERT_EQUAL(qb_journal_sync(&j), 0);
    CU_ASSERT_EQUAL(n_syncs, 1);
    CU_ASSERT_EQUAL(qb_journal_sync(&j), 0); /* nothing was written since */
    CU_ASSERT_EQUAL(n_syncs, 1);
    a_record(&j);
    sync_fails = EIO;
    CU_ASSERT_EQUAL(qb_journal_sync(&j), EIO);
    sync_fails = 0;
    a_record(&j);
    CU_ASSERT_EQUAL(qb_journal_sync(&j), EIO); /* the kernel has dropped what it had */
    qb_journal_close(&j);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_sync_syncs_and_its_failure_lasts),
    };

    return scratch_main("journal_sync", tests, UNIT_COUNT(tests));
}
