/* Barriers: every way of syncing, and the file that cannot be synced. */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#include "scratch.h"
#include "unit.h"

static void a_barrier_covers_files_in_every_way(void)
{
    enum { N = 20 };
    static const enum qb_io_kind kinds[] = {QB_IO_URING, QB_IO_POSIX};
    static const size_t counts[] = {0, 1, 3, N};

    for (size_t k = 0; k < 2; k++) {
        struct qb_io *io = open_kind(kinds[k]);
        struct qb_file files[N], *list[N];
        int errors[N];

        if (!io)
            continue;
        for (size_t i = 0; i < N; i++) {
            char name[16];

            snprintf(name, sizeof(name), "wave%zu", i);
            files[i] = open_or_die(make_file(name, "x", 1), true);
            list[i] = &files[i];
        }
        for (int how = QB_SYNC_AUTO; how <= QB_SYNC_FS; how++) {
            for (size_t c = 0; c < 4; c++) {
                memset(errors, 0x55, sizeof(errors));
                CU_ASSERT_EQUAL(qb_io_barrier(io, list, counts[c], how, errors), 0);
                for (size_t i = 0; i < counts[c]; i++)
                    CU_ASSERT_EQUAL(errors[i], 0);
            }
        }
        CU_ASSERT_EQUAL(files[0].stats.barriers, 9);
        CU_ASSERT_EQUAL(files[1].stats.barriers, 6);
        CU_ASSERT_EQUAL(files[N - 1].stats.barriers, 3);
        CU_ASSERT_EQUAL(files[0].stats.write_ops, 0);
        for (size_t i = 0; i < N; i++)
            qb_file_close(&files[i]);
        qb_io_close(io);
    }
}

static void a_barrier_fails_for_the_file_that_cannot_be_synced(void)
{
    struct qb_io *io = open_kind(QB_IO_AUTO);
    struct qb_file good = open_or_die(make_file("good", "x", 1), true);
    struct qb_file bad = {.fd = -1, .dev = good.dev + 1};
    struct qb_file *list[] = {&good, &bad, &good};
    int errors[3];

    CU_ASSERT_EQUAL(qb_io_barrier(io, list, 3, QB_SYNC_AUTO, errors), 1);
    CU_ASSERT_EQUAL(errors[0], 0);
    CU_ASSERT_EQUAL(errors[1], EBADF);
    CU_ASSERT_EQUAL(errors[2], 0);
    CU_ASSERT_EQUAL(qb_io_barrier(io, list, 3, QB_SYNC_FS, errors), 1);
    CU_ASSERT_EQUAL(errors[1], EBADF);
    qb_file_close(&good);
    qb_io_close(io);
}

/* ---- one sync for a whole file system -------------------------------------------------------- */

static int syncfs_fails, fdatasync_fails; /* errno; 0: the real call */
static unsigned n_syncfs, n_fdatasync;

int __real_syncfs(int fd);
int __wrap_syncfs(int fd);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

/* The linker leads the library's calls here. */
int __wrap_syncfs(int fd)
{
    n_syncfs++;
    errno = syncfs_fails;
    return syncfs_fails ? -1 : __real_syncfs(fd);
}

int __wrap_fdatasync(int fd)
{
    n_fdatasync++;
    errno = fdatasync_fails;
    return fdatasync_fails ? -1 : __real_fdatasync(fd);
}

static const char *kernel; /* NULL: the real one */
static long fs_magic;      /* 0: the real one */

int __real_uname(struct utsname *u);
int __wrap_uname(struct utsname *u);
int __real_fstatfs64(int fd, struct statfs *fs);
int __wrap_fstatfs64(int fd, struct statfs *fs);

int __wrap_uname(struct utsname *u)
{
    int rc = __real_uname(u);

    if (kernel)
        snprintf(u->release, sizeof(u->release), "%s", kernel);
    return rc;
}

int __wrap_fstatfs64(int fd, struct statfs *fs)
{
    int rc = __real_fstatfs64(fd, fs);

    if (fs_magic)
        fs->f_type = fs_magic;
    return rc;
}

enum { GROUP = 12 };

/* A barrier over GROUP files of one file system, and what it said of each of them. */
static size_t group_barrier(enum qb_sync how, int *errors)
{
    struct qb_io *io = open_kind(QB_IO_POSIX);
    struct qb_file files[GROUP], *list[GROUP];
    size_t failed;

    for (size_t i = 0; i < GROUP; i++) {
        char name[16];

        snprintf(name, sizeof(name), "group%zu", i);
        files[i] = open_or_die(make_file(name, "x", 1), true);
        list[i] = &files[i];
    }
    n_syncfs = n_fdatasync = 0;
    failed = qb_io_barrier(io, list, GROUP, how, errors);
    for (size_t i = 0; i < GROUP; i++)
        qb_file_close(&files[i]);
    qb_io_close(io);
    return failed;
}

static bool has_syncfs(void)
{
    int errors[GROUP];

    syncfs_fails = fdatasync_fails = 0;
    return group_barrier(QB_SYNC_FS, errors) == 0 && n_syncfs > 0;
}

static void a_sync_of_the_file_system_flushes_the_disk_too(void)
{
    if (!has_syncfs()) /* this file system or kernel is not trusted with it */
        return;
    CU_ASSERT_EQUAL(n_syncfs, 1);
    CU_ASSERT_EQUAL(n_fdatasync, 1);
}

static void its_failure_is_that_of_every_file(void)
{
    int errors[GROUP];

    for (int flush = 0; flush < 2 && has_syncfs(); flush++) {
        *(flush ? &fdatasync_fails : &syncfs_fails) = EIO;
        CU_ASSERT_EQUAL(group_barrier(QB_SYNC_FS, errors), GROUP);
        for (size_t i = 0; i < GROUP; i++)
            CU_ASSERT_EQUAL(errors[i], EIO);
    }
    syncfs_fails = fdatasync_fails = 0;
}

/* Elsewhere each file is synced by itself, whatever was asked for. */
static void only_kernels_and_file_systems_that_tell_errors_are_synced_as_one(void)
{
    static const struct {
        const char *kernel;
        long magic;
        unsigned syncs;
    } rows[] = {{"6.1.0-9", EXT4_SUPER_MAGIC, 1},    {"5.17.0", EXT4_SUPER_MAGIC, 1},
                {"5.16.20", EXT4_SUPER_MAGIC, 0},    {"4.19.0", EXT4_SUPER_MAGIC, 0},
                {"unheard of", EXT4_SUPER_MAGIC, 0}, {"6.1.0", BTRFS_SUPER_MAGIC, 1},
                {"6.1.0", NFS_SUPER_MAGIC, 0},       {"6.1.0", FUSE_SUPER_MAGIC, 0},
                {"6.1.0", OVERLAYFS_SUPER_MAGIC, 0}};
    int errors[GROUP];

    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        kernel = rows[i].kernel;
        fs_magic = rows[i].magic;
        CU_ASSERT_EQUAL(group_barrier(QB_SYNC_FS, errors), 0);
        CU_ASSERT_EQUAL(n_syncfs, rows[i].syncs);
        CU_ASSERT_EQUAL(n_fdatasync, rows[i].syncs ? 1 : GROUP);
    }
    kernel = NULL;
    fs_magic = 0;
}

static void a_sync_of_files_syncs_each(void)
{
    int errors[GROUP];

    CU_ASSERT_EQUAL(group_barrier(QB_SYNC_FILE, errors), 0);
    CU_ASSERT_EQUAL(n_syncfs, 0);
    CU_ASSERT_EQUAL(n_fdatasync, GROUP);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_barrier_covers_files_in_every_way),
        UNIT(a_barrier_fails_for_the_file_that_cannot_be_synced),
        UNIT(a_sync_of_the_file_system_flushes_the_disk_too),
        UNIT(its_failure_is_that_of_every_file),
        UNIT(only_kernels_and_file_systems_that_tell_errors_are_synced_as_one),
        UNIT(a_sync_of_files_syncs_each),
    };

    return scratch_main("barrier", tests, UNIT_COUNT(tests));
}
