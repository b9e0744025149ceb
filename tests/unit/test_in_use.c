/* Claiming an image: what counts as use, what is held, and what is read once it is. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/backend.h"
#include "opener/in_use.h"
#include "unit.h"

static char folder[] = "/tmp/qb-in-use-XXXXXX";
static char path[64], other[64];
static struct qb_io *io;

static const struct qb_claim to_write = {.writable = true}, to_look = {.writable = false};

static void put(const char *name, const char *bytes)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    CU_ASSERT_EQUAL_FATAL(write(fd, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
    close(fd);
}

static void fresh(void)
{
    unlink(path);
    unlink(other);
    put(path, "0123456789");
}

static enum qb_code claim(struct qb_claim how)
{
    struct qb_file f;
    struct qb_err err = {0};

    if (qb_file_claim(io, path, how, &f, &err) == 0) {
        CU_ASSERT_EQUAL(f.size, 10);
        CU_ASSERT_EQUAL(f.writable, how.writable);
        CU_ASSERT_FALSE(f.without_locks || f.writers_unseen);
        qb_file_close(&f);
        return QB_E_NONE;
    }
    CU_ASSERT_EQUAL(f.fd, -1);
    CU_ASSERT_EQUAL(f.size, 10); /* it was seen that far */
    return err.code;
}

static void whoever_can_write_is_in_the_way_and_readers_are_not(void)
{
    static const struct {
        int flags;
        enum qb_code code;
    } users[] = {
        {O_RDWR, QB_E_LOCKED}, {O_WRONLY, QB_E_LOCKED}, {O_RDONLY, QB_E_NONE}, {O_PATH, QB_E_NONE}};

    fresh();
    for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
        int fd = open(path, users[i].flags | O_CLOEXEC);

        CU_ASSERT_EQUAL(claim(to_write), users[i].code);
        CU_ASSERT_EQUAL(claim(to_look), users[i].code);
        close(fd);
        CU_ASSERT_EQUAL(claim(to_write), QB_E_NONE);
    }
}

static void flock_is_respected_and_held(void)
{
    int fd;
    struct qb_file f;

    fresh();
    fd = open(path, O_RDONLY | O_CLOEXEC);
    for (int how = 0; how < 2; how++) {
        flock(fd, how ? LOCK_EX : LOCK_SH);
        CU_ASSERT_EQUAL(claim(to_write), QB_E_LOCKED);
        CU_ASSERT_EQUAL(claim(to_look), QB_E_LOCKED);
        flock(fd, LOCK_UN);
    }
    CU_ASSERT_EQUAL_FATAL(qb_file_claim(io, path, to_write, &f, NULL), 0);
    CU_ASSERT_EQUAL(flock(fd, LOCK_SH | LOCK_NB), -1);
    qb_file_close(&f);
    CU_ASSERT_EQUAL(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
}

static void two_claims_exclude_each_other(void)
{
    struct qb_file f;

    fresh();
    for (int how = 0; how < 2; how++) {
        CU_ASSERT_EQUAL_FATAL(qb_file_claim(io, path, how ? to_write : to_look, &f, NULL), 0);
        CU_ASSERT_EQUAL(claim(to_write), QB_E_LOCKED);
        CU_ASSERT_EQUAL(claim(to_look), QB_E_LOCKED);
        qb_file_close(&f);
    }
}

/* The lease does not outlive the look: nobody who opens the file later waits. */
static void no_lease_is_left_behind(void)
{
    struct qb_file f;
    int fd;

    fresh();
    CU_ASSERT_EQUAL_FATAL(qb_file_claim(io, path, to_look, &f, NULL), 0);
    CU_ASSERT_EQUAL(fcntl(f.fd, F_GETLEASE), F_UNLCK);
    fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    CU_ASSERT_TRUE(fd >= 0);
    close(fd);
    qb_file_close(&f);
    CU_ASSERT_EQUAL_FATAL(qb_file_claim(io, path, to_write, &f, NULL), 0);
    fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    CU_ASSERT_TRUE(fd >= 0);
    close(fd);
    qb_file_close(&f);
}

static void what_is_appended_before_the_lock_is_held_counts(void)
{
    for (int for_amend = 0; for_amend < 2; for_amend++) {
        struct qb_file f = {.fd = -1};
        static char more[100000];

        memset(more, 'x', sizeof(more) - 1);
        fresh();
        CU_ASSERT_EQUAL_FATAL(qb_file_open(path, &f, NULL), 0);
        CU_ASSERT_FATAL(!for_amend || qb_file_reopen_writable(&f, NULL) == 0);
        CU_ASSERT_EQUAL(f.size, 10);
        CU_ASSERT_FALSE(qb_file_is_hole(&f, 0, 10)); /* and is remembered */
        put(path, more);
        CU_ASSERT_EQUAL_FATAL(qb_file_lock(&f, for_amend, NULL), 0);
        CU_ASSERT_EQUAL(f.size, 10 + sizeof(more) - 1);
        CU_ASSERT_EQUAL(f.n_known == 0 || f.known[0].range.end == 0, true);
        qb_file_close(&f);
    }
}

static enum qb_code reopened_after(void (*change)(void))
{
    struct qb_file f = {.fd = -1};
    struct qb_err err = {0};

    fresh();
    CU_ASSERT_EQUAL_FATAL(qb_file_open(path, &f, NULL), 0);
    change();
    if (qb_file_reopen_writable(&f, &err) == 0)
        qb_file_measure(&f, &err);
    qb_file_close(&f);
    return err.code;
}

static void nothing(void)
{
}

static void replace(void)
{
    put(other, "9876543210");
    rename(other, path);
}

static void make_fifo(void)
{
    unlink(path);
    CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
}

static void make_folder(void)
{
    unlink(path);
    CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
}

static void a_path_that_changed_its_meaning_is_noticed(void)
{
    CU_ASSERT_EQUAL(reopened_after(nothing), QB_E_NONE);
    CU_ASSERT_EQUAL(reopened_after(replace), QB_E_CHANGED);
    CU_ASSERT_EQUAL(reopened_after(make_fifo), QB_E_CHANGED);
    CU_ASSERT_NOT_EQUAL(reopened_after(make_folder), QB_E_NONE);
    rmdir(path);
}

/* A file system whose locks do not reach everybody, as far as the worker knows. */
static void where_use_elsewhere_cannot_be_known_the_policy_decides(void)
{
    static const struct qb_claim anyway = {.writable = true, .without_locks = true};
    struct qb_file f;

    fresh();
    CU_ASSERT_EQUAL(claim(to_write), QB_E_NONE); /* it looks the mount up */
    qb_vec_each (m, &io->mounts.items) {
        m->locking = QB_LOCKING_NONE;
        m->why = "locks stay on this host";
    }
    CU_ASSERT_EQUAL(claim(to_write), QB_E_NO_LOCKS);
    CU_ASSERT_EQUAL(claim(to_look), QB_E_NO_LOCKS);
    CU_ASSERT_EQUAL(qb_file_claim(io, path, anyway, &f, NULL), 0);
    CU_ASSERT(f.without_locks);
    qb_file_close(&f);
    qb_mounts_free(&io->mounts);
}

/* ---- the calls that an attempt makes ----------------------------------------------------------
 */

static int lease_fails;           /* errno of the call that asks for a lease; 0: the real call */
static unsigned n_fails;          /* so often */
static void (*after_lease)(void); /* once */
static unsigned n_leases;
static int signal_of_lease;

int __real_fcntl64(int fd, int cmd, void *arg);
int __wrap_fcntl64(int fd, int cmd, void *arg);

/* The linker leads calls with a third argument here, and those without, whose is not looked at. */
int __wrap_fcntl64(int fd, int cmd, void *arg)
{
    void (*then)(void) = after_lease;

    if (cmd == F_SETSIG)
        signal_of_lease = (int)(intptr_t)arg;
    if (cmd == F_SETLEASE && (int)(intptr_t)arg == F_RDLCK) {
        n_leases++;
        if (n_fails > 0) {
            n_fails--;
            errno = lease_fails;
            return -1;
        }
    }
    if (cmd == F_SETLEASE && (int)(intptr_t)arg == F_RDLCK && then) {
        int r = __real_fcntl64(fd, cmd, arg);

        after_lease = NULL;
        then();
        return r;
    }
    return __real_fcntl64(fd, cmd, arg);
}

static void fresh_calls(int errnum, unsigned fails)
{
    fresh();
    lease_fails = errnum;
    n_fails = fails;
    n_leases = 0;
    signal_of_lease = 0;
}

/* No other than SIGIO where the process ignores that. */
static void a_lease_asks_for_a_signal_that_ends_nothing(void)
{
    for (int ignored = 1; ignored >= 0; ignored--) {
        fresh_calls(0, 0);
        signal(SIGIO, ignored ? SIG_IGN : SIG_DFL);
        qb_io_spare_signals(io);
        CU_ASSERT_EQUAL(claim(to_write), QB_E_NONE);
        CU_ASSERT_EQUAL(n_leases, 1);
        CU_ASSERT_EQUAL(signal_of_lease, ignored ? 0 : SIGURG);
    }
}

static void a_writer_that_goes_is_waited_for_and_not_for_ever(void)
{
    fresh_calls(EAGAIN, 2);
    CU_ASSERT_EQUAL(claim(to_write), QB_E_NONE);
    CU_ASSERT_EQUAL(n_leases, 3);
    fresh_calls(EAGAIN, 3);
    CU_ASSERT_EQUAL(claim(to_write), QB_E_LOCKED);
    CU_ASSERT_EQUAL(n_leases, 3);
}

/* A guest stays: it is told at once. */
static void a_writer_with_locks_is_not_waited_for(void)
{
    struct flock fl = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1};
    int fd;

    fresh_calls(0, 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    CU_ASSERT_EQUAL(fcntl(fd, F_OFD_SETLK, &fl), 0);
    CU_ASSERT_EQUAL(claim(to_write), QB_E_LOCKED);
    CU_ASSERT_EQUAL(n_leases, 1);
    close(fd);
}

static void whoever_could_not_be_looked_for_is_told(void)
{
    struct qb_file f;

    fresh_calls(EACCES, 1);
    CU_ASSERT_EQUAL_FATAL(qb_file_claim(io, path, to_write, &f, NULL), 0);
    CU_ASSERT_TRUE(f.writers_unseen);
    qb_file_close(&f);
}

static void a_file_that_becomes_another_is_tried_again(void)
{
    fresh_calls(0, 0);
    after_lease = replace;
    CU_ASSERT_EQUAL(claim(to_write), QB_E_NONE);
    CU_ASSERT_EQUAL(n_leases, 2);
}

static void what_will_not_pass_is_tried_once(void)
{
    fresh_calls(ENOMEM, 3);
    CU_ASSERT_EQUAL(claim(to_write), QB_E_MEMORY);
    CU_ASSERT_EQUAL(n_leases, 1);
    n_fails = 0;
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(where_use_elsewhere_cannot_be_known_the_policy_decides),
        UNIT(whoever_can_write_is_in_the_way_and_readers_are_not),
        UNIT(flock_is_respected_and_held),
        UNIT(two_claims_exclude_each_other),
        UNIT(no_lease_is_left_behind),
        UNIT(what_is_appended_before_the_lock_is_held_counts),
        UNIT(a_path_that_changed_its_meaning_is_noticed),
        UNIT(a_lease_asks_for_a_signal_that_ends_nothing),
        UNIT(a_writer_that_goes_is_waited_for_and_not_for_ever),
        UNIT(a_writer_with_locks_is_not_waited_for),
        UNIT(whoever_could_not_be_looked_for_is_told),
        UNIT(a_file_that_becomes_another_is_tried_again),
        UNIT(what_will_not_pass_is_tried_once),
    };
    int rc;

    if (!mkdtemp(folder) || qb_io_open(QB_IO_POSIX, &io, NULL, NULL) < 0)
        return 2;
    snprintf(path, sizeof(path), "%s/a", folder);
    snprintf(other, sizeof(other), "%s/b", folder);
    rc = unit_main("in_use", tests, UNIT_COUNT(tests));
    qb_io_close(io);
    unlink(path);
    unlink(other);
    rmdir(folder);
    return rc;
}
