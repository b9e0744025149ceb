/* QEMU's lock bytes: who excludes whom, and what a failed attempt leaves behind. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "unit.h"

/* A stranger who holds one byte. */
static int hold_byte(const char *path, off_t byte, short type)
{
    struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0 || fcntl(fd, F_OFD_SETLK, &fl) < 0)
        abort();
    return fd;
}

static enum qb_code lock_against(off_t byte, bool for_amend)
{
    const char *path = make_file("locked", "x", 1);
    int stranger = hold_byte(path, byte, F_RDLCK);
    struct qb_file f = open_or_die(path, for_amend);
    struct qb_err err = {0};
    int rc = qb_file_lock(&f, for_amend, &err);

    CU_ASSERT_EQUAL(rc, err.code ? -1 : 0);
    qb_file_close(&f);
    close(stranger);
    return err.code;
}

static void locks_see_each_byte_that_matters(void)
{
    static const off_t amend[] = {101, 103, 200, 201, 203};
    static const off_t amend_not[] = {0, 100, 102, 104, 202, 204};
    static const off_t reader[] = {101, 103, 200};
    static const off_t reader_not[] = {0, 100, 102, 201, 202, 203};

    for (size_t i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(lock_against(amend[i], true), QB_E_LOCKED);
    for (size_t i = 0; i < 6; i++)
        CU_ASSERT_EQUAL(lock_against(amend_not[i], true), QB_E_NONE);
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(lock_against(reader[i], false), QB_E_LOCKED);
    for (size_t i = 0; i < 6; i++)
        CU_ASSERT_EQUAL(lock_against(reader_not[i], false), QB_E_NONE);
}

/* Whether a stranger who asks for a write lock of this byte is refused. */
static bool is_held(const char *path, off_t byte)
{
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int fd = open(path, O_RDWR | O_CLOEXEC);
    int rc = fcntl(fd, F_OFD_GETLK, &fl);

    close(fd);
    return rc == 0 && fl.l_type != F_UNLCK;
}

/* What QEMU's tools look for before they open an image. */
static void each_byte_that_others_look_for_is_held(void)
{
    static const off_t amend[] = {101, 103, 200, 201, 203};
    static const off_t reader[] = {100, 201, 203}, reader_not[] = {101, 103, 200};
    const char *path = make_file("held", "x", 1);
    struct qb_file f = open_or_die(path, true);

    CU_ASSERT_EQUAL(qb_file_lock(&f, true, NULL), 0);
    for (size_t i = 0; i < UNIT_COUNT(amend); i++)
        CU_ASSERT_TRUE(is_held(path, amend[i]));
    CU_ASSERT_FALSE(is_held(path, 0));
    CU_ASSERT_FALSE(is_held(path, 100)); /* of readers with -U */
    qb_file_close(&f);
    f = open_or_die(path, false);
    CU_ASSERT_EQUAL(qb_file_lock(&f, false, NULL), 0);
    for (size_t i = 0; i < UNIT_COUNT(reader); i++) {
        CU_ASSERT_TRUE(is_held(path, reader[i]));
        CU_ASSERT_FALSE(is_held(path, reader_not[i]));
    }
    qb_file_close(&f);
}

static void two_amends_exclude_each_other_and_readers_do_not(void)
{
    const char *path = make_file("shared", "x", 1);
    struct qb_file a = open_or_die(path, true), r = open_or_die(path, false);
    struct qb_err err = {0};

    CU_ASSERT_EQUAL(qb_file_lock(&a, true, &err), 0);
    CU_ASSERT_EQUAL(qb_file_lock(&a, true, &err), 0); /* one's own locks are no conflict */
    CU_ASSERT_EQUAL(try_lock(path, true, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_LOCKED);
    CU_ASSERT_STRING_EQUAL(err.text, "image is locked: another process does not share \"consistent "
                                     "read\" (is a virtual machine or another tool using it?)");
    CU_ASSERT_EQUAL(try_lock(path, false, NULL), -1);
    qb_file_close(&a);

    CU_ASSERT_EQUAL(qb_file_lock(&r, false, NULL), 0);
    CU_ASSERT_EQUAL(try_lock(path, false, NULL), 0);
    CU_ASSERT_EQUAL(try_lock(path, true, &err), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "does not share \"write\""));
    qb_file_close(&r);
    CU_ASSERT_EQUAL(try_lock(path, true, NULL), 0);
}

static void a_lost_conflict_leaves_no_lock_behind(void)
{
    const char *path = make_file("loser", "x", 1);
    int stranger = hold_byte(path, 101, F_RDLCK);
    struct qb_file f = open_or_die(path, true);
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 200, .l_len = 100};

    CU_ASSERT_EQUAL(qb_file_lock(&f, true, NULL), -1);
    CU_ASSERT_EQUAL(fcntl(stranger, F_OFD_GETLK, &fl), 0);
    CU_ASSERT_EQUAL(fl.l_type, F_UNLCK);
    close(stranger);
    qb_file_close(&f);
}

static void a_lock_of_another_process_is_seen_and_ends_with_it(void)
{
    const char *path = make_file("child", "x", 1);
    int ready[2], done[2], status;
    char c;
    pid_t pid;

    CU_ASSERT_EQUAL_FATAL(pipe(ready) | pipe(done), 0);
    pid = fork();
    if (pid == 0) {
        struct qb_file f = open_or_die(path, true);

        close(done[1]);
        if (qb_file_lock(&f, true, NULL) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        _exit(read(done[0], &c, 1) == 0 ? 0 : 1); /* without unlocking */
    }
    close(ready[1]); /* so that a child that ends instead is not waited for */
    CU_ASSERT_EQUAL(read(ready[0], &c, 1), 1);
    CU_ASSERT_EQUAL(try_lock(path, true, NULL), -1);
    close(done[1]);
    waitpid(pid, &status, 0);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_EQUAL(try_lock(path, true, NULL), 0);
    close(ready[0]);
    close(done[0]);
}

/* Lock calls in their order: s sets bytes of its own, g looks for those of others. */
static char lock_calls[64];
static int set_errno; /* of each attempt to set one; 0: it is tried */

int __real_fcntl64(int fd, int cmd, void *arg);
int __wrap_fcntl64(int fd, int cmd, void *arg);

/* The linker leads calls with a third argument here, and those without, whose is not looked at. */
int __wrap_fcntl64(int fd, int cmd, void *arg)
{
    size_t n = strlen(lock_calls);

    if ((cmd == F_OFD_SETLK || cmd == F_OFD_GETLK) && n + 1 < sizeof(lock_calls))
        lock_calls[n] = cmd == F_OFD_SETLK ? 's' : 'g';
    if (cmd == F_OFD_SETLK && set_errno) {
        errno = set_errno;
        return -1;
    }
    return __real_fcntl64(fd, cmd, arg);
}

static void an_amend_locks_in_one_call(void)
{
    const char *path = make_file("once", "x", 1);

    memset(lock_calls, 0, sizeof(lock_calls));
    CU_ASSERT_EQUAL(try_lock(path, true, NULL), 0);
    CU_ASSERT_STRING_EQUAL(lock_calls, "s");
}

/* Of two who come at the same time at least one sees the other; an amend proceeds like that where a
 * stranger has a byte that does not matter. */
static void one_s_own_bytes_are_set_before_others_are_looked_for(void)
{
    for (int for_amend = 0; for_amend <= 1; for_amend++) {
        const char *path = make_file("order", "x", 1);
        int stranger = hold_byte(path, 102, F_RDLCK);

        memset(lock_calls, 0, sizeof(lock_calls));
        CU_ASSERT_EQUAL(try_lock(path, for_amend, NULL), 0);
        CU_ASSERT(lock_calls[0] == 's' && strchr(lock_calls, 'g') != NULL);
        CU_ASSERT_PTR_NULL(strchr(lock_calls + strcspn(lock_calls, "g"), 's'));
        close(stranger);
    }
}

/* A reader does without them; an amend does only where the policy says so. */
static void a_file_system_without_locks_is_told_from_a_failure(void)
{
    static const struct {
        int says;
        bool for_amend;
        enum qb_code code;
    } rows[] = {{ENOLCK, true, QB_E_NO_LOCKS}, {ENOLCK, false, QB_E_NONE},
                {EINVAL, true, QB_E_NO_LOCKS}, {EOPNOTSUPP, true, QB_E_NO_LOCKS},
                {ENOSYS, true, QB_E_NO_LOCKS}, {ENOSYS, false, QB_E_NONE},
                {EIO, true, QB_E_IO},          {EIO, false, QB_E_IO}};
    const char *path = make_file("without", "x", 1);

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        struct qb_file f = open_or_die(path, rows[i].for_amend);
        struct qb_err err = {0};

        set_errno = rows[i].says;
        CU_ASSERT_EQUAL(qb_file_lock(&f, rows[i].for_amend, &err), rows[i].code ? -1 : 0);
        set_errno = 0;
        CU_ASSERT_EQUAL(err.code, rows[i].code);
        CU_ASSERT_EQUAL(err.sys_errno, rows[i].code ? rows[i].says : 0);
        qb_file_close(&f);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(locks_see_each_byte_that_matters),
        UNIT(each_byte_that_others_look_for_is_held),
        UNIT(two_amends_exclude_each_other_and_readers_do_not),
        UNIT(an_amend_locks_in_one_call),
        UNIT(one_s_own_bytes_are_set_before_others_are_looked_for),
        UNIT(a_file_system_without_locks_is_told_from_a_failure),
        UNIT(a_lost_conflict_leaves_no_lock_behind),
        UNIT(a_lock_of_another_process_is_seen_and_ends_with_it),
    };

    return scratch_main("lock", tests, UNIT_COUNT(tests));
}
