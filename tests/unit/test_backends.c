/* The back ends do the same as the memory one, survive a broken ring, and name failures. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "dice.h"
#include "mem/mem.h"
#include "scratch.h"
#include "unit.h"

static struct dice dice = {88172645463325252u};

static void a_short_file_is_no_data(void)
{
    static const enum qb_io_kind kinds[] = {QB_IO_URING, QB_IO_POSIX};
    char buf[64];

    for (size_t k = 0; k < 2; k++) {
        struct qb_file f = open_or_die(make_file("short", "0123456789", 10), false);
        struct qb_io *io = open_kind(kinds[k]);
        struct qb_req reqs[] = {{&f, QB_OP_READ, 0, 10, buf, 0},
                                {&f, QB_OP_READ, 5, 6, buf + 10, 0},
                                {&f, QB_OP_READ, 100, 1, buf + 20, 0},
                                {&f, QB_OP_READ, 100, 0, NULL, 0},
                                {&f, QB_OP_READ, UINT64_MAX - 1, 9, buf + 20, 0}};
        struct qb_err err = {0};

        if (!io)
            continue;
        CU_ASSERT_EQUAL(qb_io_run(io, reqs, 5), 3);
        CU_ASSERT_EQUAL(reqs[0].error, 0);
        CU_ASSERT_EQUAL(reqs[1].error, ENODATA);
        CU_ASSERT_EQUAL(reqs[2].error, ENODATA);
        CU_ASSERT_EQUAL(reqs[3].error, 0);
        CU_ASSERT_EQUAL(reqs[4].error, ENODATA);
        CU_ASSERT_EQUAL(qb_io_read(io, &f, 8, buf, 3, "the header", &err), -1);
        CU_ASSERT_EQUAL(err.code, QB_E_CORRUPT);
        CU_ASSERT_EQUAL(err.offset, 8);
        CU_ASSERT_STRING_EQUAL(err.text, "the header ends past the end of the file");
        qb_io_close(io);
        qb_file_close(&f);
    }
}

static void failures_are_put_into_words(void)
{
    struct qb_file f = {.fd = -1};
    struct qb_req req = {&f, QB_OP_WRITE, 0x1000, 512, NULL, ENOSPC};
    struct qb_err err = {0};

    CU_ASSERT_EQUAL(qb_io_fail(&req, "L2 table", &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_NO_SPACE);
    CU_ASSERT_EQUAL(err.sys_errno, ENOSPC);
    CU_ASSERT_EQUAL(err.offset, 0x1000);
    CU_ASSERT_STRING_EQUAL(err.text, "cannot write L2 table: No space left on device");
    req.error = QB_EGUARD;
    CU_ASSERT_EQUAL(qb_io_fail(&req, "L2 table", &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_INTERNAL);
    req.op = QB_OP_SYNC;
    req.error = EIO;
    CU_ASSERT_EQUAL(qb_io_fail(&req, "the image", &err), -1);
    CU_ASSERT_EQUAL(err.offset, QB_NOWHERE);
}

enum { ARENA = 1 << 20, BATCH = 500, BATCHES = 12 };

/* Requests of one batch never overlap, since they may run in any order: each has its own slice. */
static void make_batch(struct qb_req *reqs, struct qb_file *f, unsigned char *payload,
                       bool with_zero, uint64_t seed)
{
    static const enum qb_op append[] = {QB_OP_READ, QB_OP_WRITE, QB_OP_FILL, QB_OP_ZERO};
    static const enum qb_op settle[] = {QB_OP_READ, QB_OP_PUNCH};
    bool settles = seed % 3 == 0;
    uint64_t slice = ARENA / BATCH;

    dice = dice_of(seed);
    unguard_for(f, settles ? QB_PHASE_SETTLE : QB_PHASE_APPEND);
    for (size_t i = 0; i < BATCH; i++) {
        enum qb_op op = settles ? settle[roll(&dice, 2)] : append[roll(&dice, with_zero ? 4 : 3)];
        uint64_t at = i * slice + roll(&dice, slice / 2), len = 1 + roll(&dice, slice / 2);
        unsigned char *buf = payload + i * slice;

        for (size_t b = 0; b < len; b++)
            buf[b] = (unsigned char)roll(&dice, 256);
        reqs[i] = (struct qb_req){f, op, at, len, buf, 0};
    }
}

static bool fs_can_zero(struct qb_io *io)
{
    struct qb_file f = open_or_die(make_file("zeroable", "abc", 3), true);
    bool can;

    unguard(&f);
    can = run_one(io, &f, QB_OP_ZERO, 0, 2, NULL) == 0;
    qb_file_close(&f);
    return can;
}

static void same_answers(const struct qb_req *a, const struct qb_req *b)
{
    for (size_t i = 0; i < BATCH; i++) {
        CU_ASSERT_EQUAL(a[i].error, b[i].error);
        CU_ASSERT_EQUAL(memcmp(a[i].buf, b[i].buf, a[i].len), 0);
    }
}

static void same_content(struct qb_io *io, struct qb_file *f, const struct qb_mem_log *log)
{
    uint64_t size;
    const unsigned char *want = qb_mem_content(log, 0, &size);
    unsigned char *got = malloc(size);

    CU_ASSERT_EQUAL(f->size, size);
    CU_ASSERT_EQUAL(run_one(io, f, QB_OP_READ, 0, size, got), 0);
    CU_ASSERT_EQUAL(memcmp(got, want, size), 0);
    free(got);
}

/* The same batches for a kernel back end and for the memory one, which plays the oracle. */
static void does_the_same_as_memory(struct qb_io *io, bool with_zero)
{
    static unsigned char payload[2][ARENA];
    static struct qb_req reqs[2][BATCH];
    struct qb_mem_log *log = qb_mem_log_new();
    struct qb_io *ios[2] = {io, qb_io_open_mem(log)};
    struct qb_file files[2] = {open_or_die(make_file("real", "", 0), true), {.fd = -1}};

    CU_ASSERT_EQUAL_FATAL(qb_mem_file(log, "", 0, &files[1]), 0);
    for (uint64_t batch = 0; batch < BATCHES; batch++) {
        /* Every other batch makes the file longer by writing; reads may come before that or after.
         */
        bool grows = batch % 2;

        for (size_t k = 0; k < 2; k++) {
            unguard(&files[k]);
            CU_ASSERT_EQUAL(
                0, run_one(ios[k], &files[k], QB_OP_SET_SIZE, grows ? ARENA / 3 : ARENA, 0, NULL));
            make_batch(reqs[k], &files[k], payload[k], with_zero, batch + 1);
            qb_io_run(ios[k], reqs[k], BATCH);
        }
        if (!grows)
            same_answers(reqs[0], reqs[1]);
        same_content(io, &files[0], log);
    }
    CU_ASSERT_EQUAL(files[0].stats.write_ops, files[1].stats.write_ops);
    CU_ASSERT_EQUAL(files[0].stats.write_bytes, files[1].stats.write_bytes);
    CU_ASSERT_EQUAL(files[0].stats.zeroed_bytes, files[1].stats.zeroed_bytes);
    qb_file_close(&files[0]);
    qb_file_close(&files[1]);
    qb_io_close(ios[1]);
    qb_mem_log_free(log);
}

static void all_back_ends_do_the_same(void)
{
    static const enum qb_io_kind kinds[] = {QB_IO_URING, QB_IO_POSIX};

    for (size_t k = 0; k < 2; k++) {
        struct qb_io *io = open_kind(kinds[k]);

        if (io)
            does_the_same_as_memory(io, fs_can_zero(io));
        qb_io_close(io);
    }
}

static void a_batch_larger_than_the_ring_reads_every_byte(void)
{
    enum { N = 3000, EACH = 700 };
    static unsigned char bytes[N * EACH], got[N * EACH];
    static struct qb_req reqs[N];
    struct qb_io *io = open_kind(QB_IO_URING);
    struct qb_file f;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)roll(&dice, 256);
    f = open_or_die(make_file("big", bytes, sizeof(bytes)), false);
    for (size_t i = 0; i < N; i++)
        reqs[i] = (struct qb_req){&f, QB_OP_READ, i * EACH, EACH, got + i * EACH, 0};
    if (io) {
        CU_ASSERT_EQUAL(qb_io_run(io, reqs, N), 0);
        CU_ASSERT_EQUAL(memcmp(bytes, got, sizeof(bytes)), 0);
        CU_ASSERT_EQUAL(f.stats.read_ops, N);
        CU_ASSERT_EQUAL(f.stats.read_bytes, N * EACH);
        CU_ASSERT_STRING_EQUAL(qb_io_name(io), "uring");
    }
    qb_io_close(io);
    qb_file_close(&f);
}

static void a_ring_that_breaks_does_not_lose_requests(void)
{
    struct qb_io *io = open_kind(QB_IO_URING);
    struct qb_file f = open_or_die(make_file("broken", "", 0), true);
    static unsigned char out[400][8], in[400][8];
    struct qb_req reqs[400];

    unguard(&f);
    if (io && spoil_ring()) {
        for (size_t i = 0; i < 400; i++) {
            snprintf((char *)out[i], 8, "%07zu", i);
            reqs[i] = (struct qb_req){&f, QB_OP_WRITE, i * 8, 8, out[i], 0};
        }
        CU_ASSERT_EQUAL(qb_io_run(io, reqs, 400), 0);
        for (size_t i = 0; i < 400; i++)
            reqs[i] = (struct qb_req){&f, QB_OP_READ, i * 8, 8, in[i], 0};
        CU_ASSERT_EQUAL(qb_io_run(io, reqs, 400), 0);
        CU_ASSERT_EQUAL(memcmp(in, out, sizeof(in)), 0);
    }
    qb_io_close(io);
    qb_file_close(&f);
}

static void the_wrong_kind_of_file_is_refused_by_the_kernel(void)
{
    struct qb_mem_log *log = qb_mem_log_new();
    struct qb_io *io = open_kind(QB_IO_POSIX), *mem = qb_io_open_mem(log);
    struct qb_file f = open_or_die(make_file("readonly", "abc", 3), false), m;
    char c;

    CU_ASSERT_EQUAL(qb_mem_file(log, "abc", 3, &m), 0);
    unguard(&f);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_WRITE, 0, 1, "x"), EBADF);
    CU_ASSERT_EQUAL(run_one(io, &m, QB_OP_READ, 0, 1, &c), EBADF);
    CU_ASSERT_EQUAL(run_one(mem, &f, QB_OP_READ, 0, 1, &c), EBADF);
    CU_ASSERT_EQUAL(f.size, 3);
    CU_ASSERT_EQUAL(f.stats.write_ops, 0);
    qb_file_close(&m);
    qb_file_close(&f);
    qb_io_close(io);
    qb_io_close(mem);
    qb_mem_log_free(log);
}

static void a_size_that_no_file_can_have_is_refused(void)
{
    struct qb_io *io = open_kind(QB_IO_POSIX);
    struct qb_file f = open_or_die(make_file("huge", "abc", 3), true);

    unguard(&f);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_SET_SIZE, UINT64_MAX, 0, NULL), EFBIG);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_WRITE, INT64_MAX, 1, "x"), EFBIG);
    f.is_block_device = true;
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_SET_SIZE, 4, 0, NULL), EINVAL);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_SET_SIZE, 3, 0, NULL), 0);
    CU_ASSERT_EQUAL(f.size, 3);
    qb_io_close(io);
    qb_file_close(&f);
}

static void auto_falls_back_with_a_reason(void)
{
    struct rlimit old, tight;
    struct qb_io *io = NULL;
    const char *why = "unset";
    struct qb_err err = {0};

    CU_ASSERT_EQUAL(qb_io_open(QB_IO_POSIX, &io, &why, &err), 0);
    CU_ASSERT_PTR_NULL(why);
    qb_io_close(io);

    getrlimit(RLIMIT_NOFILE, &old);
    tight = old;
    tight.rlim_cur = 3; /* no room for the ring's descriptor */
    setrlimit(RLIMIT_NOFILE, &tight);
    CU_ASSERT_EQUAL(qb_io_open(QB_IO_AUTO, &io, &why, &err), 0);
    CU_ASSERT_STRING_EQUAL(qb_io_name(io), "posix");
    CU_ASSERT_PTR_NOT_NULL(why);
    qb_io_close(io);
    CU_ASSERT_EQUAL(qb_io_open(QB_IO_URING, &io, &why, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_UNSUPPORTED);
    CU_ASSERT_NOT_EQUAL(err.sys_errno, 0);
    setrlimit(RLIMIT_NOFILE, &old);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_short_file_is_no_data),
        UNIT(failures_are_put_into_words),
        UNIT(all_back_ends_do_the_same),
        UNIT(a_batch_larger_than_the_ring_reads_every_byte),
        UNIT(a_ring_that_breaks_does_not_lose_requests),
        UNIT(the_wrong_kind_of_file_is_refused_by_the_kernel),
        UNIT(a_size_that_no_file_can_have_is_refused),
        UNIT(auto_falls_back_with_a_reason),
    };

    return scratch_main("backends", tests, UNIT_COUNT(tests));
}
