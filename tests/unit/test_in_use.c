/* Claiming an image: what counts as use, what is held, and what is read once it is. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/in_use.h"
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
}

static void what_is_appended_before_the_lock_is_held_counts(void)
{
    for (int for_amend = 0; for_amend < 2; for_amend++) {
        struct qb_file f = {.fd = -1};
        static char more[100000];

        memset(more, 'x', sizeof(more) - 1);
        fresh();
        CU_ASSERT_EQUAL_FATAL(qb_file_open(path, for_amend, &f, NULL), 0);
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
    CU_ASSERT_EQUAL_FATAL(qb_file_open(path, false, &f, NULL), 0);
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

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(whoever_can_write_is_in_the_way_and_readers_are_not),
        UNIT(flock_is_respected_and_held),
        UNIT(two_claims_exclude_each_other),
        UNIT(no_lease_is_left_behind),
        UNIT(what_is_appended_before_the_lock_is_held_counts),
        UNIT(a_path_that_changed_its_meaning_is_noticed),
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
