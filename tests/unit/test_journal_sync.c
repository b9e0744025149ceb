/* When a journal is synced, and that a sync which failed is never forgotten. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

/* A sync runs beside the workers: what they write meanwhile it need not have covered. */
static void what_was_written_during_a_sync_is_not_synced(void)
{
    struct qb_journal j;
    uint64_t length;

    CU_ASSERT_EQUAL_FATAL(qb_journal_create(in_folder("c-000001.journal"), &j, NULL), 0);
    a_record(&j);
    CU_ASSERT_EQUAL(qb_journal_write(&j), 0);
    length = j.length;
    CU_ASSERT_PTR_NOT_NULL(qb_journal_file(&j));
    a_record(&j);
    CU_ASSERT_EQUAL(qb_journal_write(&j), 0);
    qb_journal_synced(&j, 0);
    CU_ASSERT_EQUAL(j.synced, length);
    CU_ASSERT_PTR_NOT_NULL(qb_journal_file(&j)); /* there is more to sync */
    qb_journal_close(&j);
}

/* In a child, whose files may have no more bytes than this one will want. */
static int write_too_much(const char *path)
{
    struct qb_journal j;
    struct rlimit limit, before;
    struct stat st;
    uint64_t length;

    if (qb_journal_create(path, &j, NULL) < 0)
        return 1;
    a_record(&j);
    if (qb_journal_write(&j) != 0)
        return 2;
    length = j.length;
    getrlimit(RLIMIT_FSIZE, &before);
    limit = (struct rlimit){length + 5, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    a_record(&j);
    if (qb_journal_write(&j) != EFBIG || fstat(j.file.fd, &st) < 0)
        return 3;
    if ((uint64_t)st.st_size != length) /* what was written of the line is cut off */
        return 4;
    setrlimit(RLIMIT_FSIZE, &before); /* there is room again, but a record is missing */
    a_record(&j);
    if (qb_journal_write(&j) != EFBIG || j.length != length || fstat(j.file.fd, &st) < 0)
        return 5;
    return (uint64_t)st.st_size == length ? 0 : 6;
}

/* Memory that ran out within a record. */
static void half_a_record_is_not_written(void)
{
    struct qb_journal j;
    uint64_t length;
    struct stat st;

    CU_ASSERT_EQUAL_FATAL(qb_journal_create(in_folder("d-000001.journal"), &j, NULL), 0);
    a_record(&j);
    CU_ASSERT_EQUAL(qb_journal_write(&j), 0);
    length = j.length;
    qb_journal_begin(&j, "run");
    j.errnum = ENOMEM;
    CU_ASSERT_EQUAL(qb_journal_write(&j), ENOMEM);
    CU_ASSERT_EQUAL(fstat(j.file.fd, &st), 0);
    CU_ASSERT_EQUAL((uint64_t)st.st_size, length);
    qb_journal_close(&j);
}

static void a_write_that_failed_leaves_whole_lines_and_is_the_last(void)
{
    const char *path = in_folder("b-000001.journal");
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(write_too_much(path));
    waitpid(pid, &status, 0);
    CU_ASSERT_TRUE(WIFEXITED(status));
    CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_sync_syncs_and_its_failure_lasts),
        UNIT(what_was_written_during_a_sync_is_not_synced),
        UNIT(half_a_record_is_not_written),
        UNIT(a_write_that_failed_leaves_whole_lines_and_is_the_last),
    };

    return scratch_main("journal_sync", tests, UNIT_COUNT(tests));
}
