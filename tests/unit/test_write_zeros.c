/* Writing zeros: every byte of the range and no other, with and without O_DIRECT. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "images.h"
#include "io/reserve.h"
#include "qbatch.h"
#include "scratch.h"
#include "unit.h"

enum { FILL_FILE = 24 << 20 };

/* Fills a part of a file of x and looks at all of the file afterwards. */
static void fills(struct qb_io *io, const char *path, uint64_t at, uint64_t len)
{
    uint64_t end = QB_MAX(at + len, FILL_FILE);
    unsigned char *old = memset(malloc(FILL_FILE), 'x', FILL_FILE), *got = malloc(end);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    struct qb_file f;

    if (fd < 0 || write(fd, old, FILL_FILE) != FILL_FILE)
        abort();
    close(fd);
    f = open_or_die(path, true);
    unguard(&f);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_FILL, at, len, NULL), 0);
    CU_ASSERT_EQUAL(f.size, end);
    CU_ASSERT_EQUAL(f.stats.write_bytes, len); /* zeros that are written are written */
    CU_ASSERT_EQUAL(f.stats.zeroed_bytes, 0);
    CU_ASSERT_EQUAL(f.stats.write_ops, 1);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_READ, 0, end, got), 0);
    CU_ASSERT_TRUE(qb_all_zero(got + at, len));
    CU_ASSERT_EQUAL(memcmp(got, old, at), 0);
    if (at + len < end) {
        CU_ASSERT_EQUAL(memcmp(got + at + len, old, end - at - len), 0);
    }
    CU_ASSERT_FALSE(qb_file_is_hole(&f, at, len));
    qb_file_close(&f);
    unlink(path);
    free(old);
    free(got);
}

/* Pages, sectors, single bytes; short, long, and past the end of the file. */
static const uint64_t fill_parts[][2] = {{4096, 16 << 20},
                                         {512, (20 << 20) + 512},
                                         {4097, (5 << 20) + 4095},
                                         {8 << 20, 20 << 20},
                                         {4095, 2},
                                         {1 << 20, 65536},
                                         {1, (4 << 20) - 1},
                                         {(23 << 20) + 7, 18 << 20}};

static void fills_every_part(struct qb_io *io, const char *path)
{
    for (size_t i = 0; i < sizeof(fill_parts) / sizeof(fill_parts[0]); i++)
        fills(io, path, fill_parts[i][0], fill_parts[i][1]);
}

static void a_fill_is_zeros_from_its_first_byte_to_its_last(void)
{
    static const enum qb_io_kind kinds[] = {QB_IO_URING, QB_IO_POSIX};

    for (size_t k = 0; k < 2; k++) {
        struct qb_io *io = open_kind(kinds[k]);
        char shm[] = "/dev/shm/write_zeros.XXXXXX";
        int fd = mkstemp(shm);

        if (io)
            fills_every_part(io, in_folder("filled"));
        if (io && fd >= 0)
            fills_every_part(io, shm);
        if (fd >= 0)
            close(fd);
        unlink(shm);
        qb_io_close(io);
    }
}

/* With no descriptor to spare there is no second way into the file. */
static void a_fill_works_where_direct_writes_do_not(void)
{
    static const enum qb_io_kind kinds[] = {QB_IO_URING, QB_IO_POSIX};
    struct rlimit old, tight;

    getrlimit(RLIMIT_NOFILE, &old);
    for (size_t k = 0; k < 2; k++) {
        struct qb_io *io = open_kind(kinds[k]);
        int next = open("/dev/null", O_RDONLY | O_CLOEXEC);

        close(next);
        tight = old;
        tight.rlim_cur = (rlim_t)next + 1; /* for the file itself */
        setrlimit(RLIMIT_NOFILE, &tight);
        if (io)
            fills_every_part(io, in_folder("cached"));
        setrlimit(RLIMIT_NOFILE, &old);
        qb_io_close(io);
    }
}

static void a_fill_on_a_broken_ring_is_complete(void)
{
    struct qb_io *io = open_kind(QB_IO_URING);

    if (io && spoil_ring())
        fills_every_part(io, in_folder("half-filled"));
    qb_io_close(io);
}

static void a_fill_keeps_to_what_the_file_was_opened_for(void)
{
    static const enum qb_io_kind kinds[] = {QB_IO_URING, QB_IO_POSIX};

    for (size_t k = 0; k < 2; k++) {
        struct qb_file f = open_or_die(make_file("look-only", "abc", 3), false);
        struct qb_range allowed = {0, 16 << 20};
        struct qb_io *io = open_kind(kinds[k]);

        if (io) {
            unguard(&f);
            CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_FILL, 0, 16 << 20, NULL), EBADF);
            f.guard = (struct qb_guard){QB_PHASE_APPEND, &allowed, 1, 0};
            CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_FILL, 0, (16 << 20) + 1, NULL), QB_EGUARD);
            CU_ASSERT_EQUAL(f.size, 3);
            CU_ASSERT_EQUAL(f.stats.write_ops, 0);
            CU_ASSERT_EQUAL(f.stats.write_bytes, 0);
        }
        qb_io_close(io);
        qb_file_close(&f);
    }
}

/* The fill opens the file once more and closes it again. */
static void a_fill_keeps_the_locks(void)
{
    static const enum qb_io_kind kinds[] = {QB_IO_URING, QB_IO_POSIX};

    for (size_t k = 0; k < 2; k++) {
        const char *path = make_file("locked-fill", "x", 1);
        struct qb_file f = open_or_die(path, true);
        struct qb_io *io = open_kind(kinds[k]);

        unguard(&f);
        CU_ASSERT_EQUAL(qb_file_lock(&f, true, NULL), 0);
        if (io) {
            CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_FILL, 0, 16 << 20, NULL), 0);
        }
        CU_ASSERT_EQUAL(try_lock(path, true, NULL), -1);
        CU_ASSERT_EQUAL(try_lock(path, false, NULL), -1);
        qb_file_close(&f);
        CU_ASSERT_EQUAL(try_lock(path, true, NULL), 0);
        qb_io_close(io);
    }
}

/* In a child, since all of this holds for the process: a limit on the length of files, or a disk of
 * 8 MiB where the host lets us mount one. */
static int fill_too_much(enum qb_io_kind kind, bool with_limit, bool direct)
{
    struct rlimit length = {6 << 20, 6 << 20}, files;
    struct qb_io *io = open_kind(kind);
    struct qb_file f;
    int error;

    if (!with_limit && (unshare(CLONE_NEWNS) < 0 || mount("", "/", "", MS_REC | MS_PRIVATE, "") ||
                        mount("", scratch_folder(), "tmpfs", 0, "size=8m") < 0))
        return ENOSPC;
    if (!io)
        return with_limit ? EFBIG : ENOSPC;
    f = open_or_die(make_file("too-small", "x", 1), true);
    unguard(&f);
    if (with_limit) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &length);
    }
    if (!direct) {
        getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = (rlim_t)f.fd + 1;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    error = run_one(io, &f, QB_OP_FILL, 1, 32 << 20, NULL);
    if (f.size > 33 << 20 || f.stats.write_bytes || f.stats.write_ops)
        error = 0;
    qb_io_close(io);
    qb_file_close(&f);
    return error;
}

static void a_fill_that_does_not_fit_says_so(void)
{
    static const enum qb_io_kind kinds[] = {QB_IO_URING, QB_IO_POSIX};

    for (unsigned i = 0; i < 8; i++) {
        bool with_limit = i & 4;
        int status;
        pid_t pid = fork();

        if (pid == 0)
            _exit(fill_too_much(kinds[i & 1], with_limit, i & 2));
        waitpid(pid, &status, 0);
        CU_ASSERT_TRUE(WIFEXITED(status));
        CU_ASSERT_EQUAL(WEXITSTATUS(status), with_limit ? EFBIG : ENOSPC);
    }
}

/* What an amend appends has holes where zero_method leaves them, and none where it writes. */
static void an_amend_that_is_to_write_zeros_leaves_no_hole(void)
{
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 16, .refcount_order = 4, .size = 1 << 20};
    static const enum qb_zero_method methods[] = {QB_ZEROED_HOLE, QB_ZEROED_WRITE};

    for (unsigned i = 0; i < UNIT_COUNT(methods); i++) {
        struct image_bytes image = image_make(&shape, "d2z");
        const char *path = make_file("amended", image.bytes, image.size);
        struct qb_options options = {.struct_size = sizeof(options), .io = QB_IO_POSIX};
        struct qb_request rq = {.struct_size = sizeof(rq), .set = QB_KEY_COMPAT, .compat = 2};
        const struct qb_result *result;
        int fd;

        rq.zero_method = methods[i];
        CU_ASSERT_EQUAL(qb_amend_image(path, &rq, &options, &result), 0);
        qb_result_free(result);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        CU_ASSERT_EQUAL(lseek(fd, (off_t)image.size, SEEK_HOLE) == lseek(fd, 0, SEEK_END), i == 1);
        close(fd);
        image_bytes_free(&image);
    }
}

/* Of a file that keeps its allocation: also where its last cluster was there in part. */
static void an_amend_of_a_reserved_file_leaves_no_hole(void)
{
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 16, .refcount_order = 4, .size = 1 << 20, .cut_bytes = 20000};
    static const struct qb_request rq = {
        .struct_size = sizeof(rq), .set = QB_KEY_COMPAT, .compat = 2};
    struct image_bytes image = image_make(&shape, "z4d2");
    const char *path = make_file("reserved", image.bytes, image.size);
    struct qb_options options = {.struct_size = sizeof(options), .io = QB_IO_POSIX};
    struct qb_io *io = open_kind(QB_IO_POSIX);
    const struct qb_result *result;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool reserved = false;
    struct qb_file f;

    CU_ASSERT_EQUAL(posix_fallocate(fd, 0, (off_t)image.size), 0);
    close(fd);
    CU_ASSERT_EQUAL(qb_amend_image(path, &rq, &options, &result), 0);
    qb_result_free(result);
    f = open_or_die(path, false);
    CU_ASSERT_EQUAL(qb_file_is_reserved(io, &f, f.size, &reserved, NULL), 0);
    CU_ASSERT(reserved);
    qb_file_close(&f);
    qb_io_close(io);
    image_bytes_free(&image);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_fill_is_zeros_from_its_first_byte_to_its_last),
        UNIT(a_fill_works_where_direct_writes_do_not),
        UNIT(a_fill_on_a_broken_ring_is_complete),
        UNIT(a_fill_keeps_to_what_the_file_was_opened_for),
        UNIT(a_fill_keeps_the_locks),
        UNIT(a_fill_that_does_not_fit_says_so),
        UNIT(an_amend_of_a_reserved_file_leaves_no_hole),
        UNIT(an_amend_that_is_to_write_zeros_leaves_no_hole),
    };

    return scratch_main("write_zeros", tests, UNIT_COUNT(tests));
}
