/* The write guard: what each phase may change, and what never reaches the kernel. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dice.h"
#include "scratch.h"
#include "unit.h"

static struct dice dice = {88172645463325252u};

static const struct qb_range three[] = {{1000, 2000}, {2000, 3000}, {5000, 6000}};

static int asks(enum qb_phase phase, int op, uint64_t offset, uint64_t len)
{
    struct qb_file file = {.guard = {phase, three, 3, 4096}};

    return qb_guard_check(&file, op, offset, len);
}

static void guard_lets_reads_and_syncs_through_in_every_phase(void)
{
    for (int phase = QB_PHASE_READ; phase <= QB_PHASE_SETTLE; phase++) {
        CU_ASSERT_EQUAL(asks(phase, QB_OP_READ, 0, 1 << 20), 0);
        CU_ASSERT_EQUAL(asks(phase, QB_OP_READ, UINT64_MAX, UINT64_MAX), 0);
        CU_ASSERT_EQUAL(asks(phase, QB_OP_SYNC, 0, 0), 0);
    }
}

static void guard_refuses_every_change_while_reading(void)
{
    for (int op = QB_OP_WRITE; op <= QB_OP_SET_SIZE; op++) {
        CU_ASSERT_EQUAL(asks(QB_PHASE_READ, op, 1000, 10), QB_EGUARD);
        CU_ASSERT_EQUAL(asks(QB_PHASE_READ, op, 0, 0), QB_EGUARD);
    }
}

static void guard_allows_a_write_inside_one_range(void)
{
    static const int ops[] = {QB_OP_WRITE, QB_OP_FILL, QB_OP_ZERO};

    for (size_t i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, ops[i], 1000, 1), 0);
        CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, ops[i], 1999, 1), 0);
        CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, ops[i], 5000, 1000), 0);
        CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, ops[i], 5999, 1), 0);
    }
}

static void guard_refuses_a_write_outside_the_plan(void)
{
    static const uint64_t bad[][2] = {
        {0, 512},     {0, 1},       {999, 1},     {999, 2},     {3000, 1},   {2999, 2},
        {4999, 1},    {4999, 1001}, {5000, 1001}, {5999, 2},    {6000, 1},   {0, 7000},
        {1000, 5000}, {2500, 2600}, {7000, 1},    {1000, 2001}, {3000, 2000}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_WRITE, bad[i][0], bad[i][1]), QB_EGUARD);
        CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_FILL, bad[i][0], bad[i][1]), QB_EGUARD);
        CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_ZERO, bad[i][0], bad[i][1]), QB_EGUARD);
        CU_ASSERT_EQUAL(asks(QB_PHASE_SETTLE, QB_OP_PUNCH, bad[i][0], bad[i][1]), QB_EGUARD);
    }
}

static void guard_allows_a_write_across_ranges_that_adjoin(void)
{
    CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_WRITE, 1999, 2), 0);
    CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_WRITE, 1000, 2000), 0);
    CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_FILL, 1000, 2000), 0);
    CU_ASSERT_EQUAL(asks(QB_PHASE_SETTLE, QB_OP_PUNCH, 1000, 2000), 0);
}

static void guard_is_not_fooled_by_lengths_that_wrap(void)
{
    CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_WRITE, 1500, UINT64_MAX), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_WRITE, 1500, UINT64_MAX - 400), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_FILL, 1500, UINT64_MAX - 400), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_ZERO, UINT64_MAX, 1), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_SETTLE, QB_OP_PUNCH, 5500, UINT64_MAX - 100), QB_EGUARD);
}

static void guard_keeps_the_phases_apart(void)
{
    CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_PUNCH, 1000, 10), 0);
    CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_PUNCH, 999, 10), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_WRITE, 0, 512), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_SETTLE, QB_OP_WRITE, 1000, 10), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_SETTLE, QB_OP_FILL, 1000, 10), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_SETTLE, QB_OP_ZERO, 1000, 10), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_SETTLE, QB_OP_WRITE, 0, 512), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(17, QB_OP_WRITE, 1000, 10), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, 99, 1000, 10), QB_EGUARD);
}

static void guard_lets_the_file_shrink_only_to_its_minimum(void)
{
    static const enum qb_phase phases[] = {QB_PHASE_APPEND, QB_PHASE_SETTLE};

    for (size_t i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(asks(phases[i], QB_OP_SET_SIZE, 4096, 0), 0);
        CU_ASSERT_EQUAL(asks(phases[i], QB_OP_SET_SIZE, UINT64_MAX, 0), 0);
        CU_ASSERT_EQUAL(asks(phases[i], QB_OP_SET_SIZE, 4095, 0), QB_EGUARD);
        CU_ASSERT_EQUAL(asks(phases[i], QB_OP_SET_SIZE, 0, 0), QB_EGUARD);
    }
}

static void guard_lets_the_flip_write_sector_0_and_nothing_else(void)
{
    CU_ASSERT_EQUAL(asks(QB_PHASE_FLIP, QB_OP_WRITE, 0, 512), 0);
    CU_ASSERT_EQUAL(asks(QB_PHASE_FLIP, QB_OP_WRITE, 0, 511), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_FLIP, QB_OP_WRITE, 0, 513), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_FLIP, QB_OP_WRITE, 0, 0), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_FLIP, QB_OP_WRITE, 1, 512), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_FLIP, QB_OP_WRITE, 1000, 512), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_FLIP, QB_OP_FILL, 0, 512), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_FLIP, QB_OP_ZERO, 0, 512), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_FLIP, QB_OP_PUNCH, 0, 512), QB_EGUARD);
    CU_ASSERT_EQUAL(asks(QB_PHASE_FLIP, QB_OP_SET_SIZE, 1 << 20, 0), QB_EGUARD);
}

static void guard_without_ranges_refuses_all_writes(void)
{
    struct qb_file file = {.guard = {QB_PHASE_APPEND, NULL, 0, 0}};

    CU_ASSERT_EQUAL(qb_guard_check(&file, QB_OP_WRITE, 0, 1), QB_EGUARD);
    CU_ASSERT_EQUAL(qb_guard_check(&file, QB_OP_WRITE, UINT64_MAX - 1, 1), QB_EGUARD);
}

/* Against a map of bytes, which cannot be wrong. */
static void guard_agrees_with_a_map_of_the_bytes(void)
{
    for (int round = 0; round < 200; round++) {
        struct qb_range ranges[16];
        bool map[256] = {false};
        size_t n = 0;
        uint64_t at = roll(&dice, 8);

        while (n < 16 && at < 240) {
            ranges[n] = (struct qb_range){at, at + 1 + roll(&dice, 12)};
            memset(map + at, true, ranges[n].end - at);
            at = ranges[n++].end + (roll(&dice, 2) ? roll(&dice, 9) : 0);
        }
        for (int i = 0; i < 500; i++) {
            struct qb_file file = {.guard = {QB_PHASE_APPEND, ranges, n, 0}};
            uint64_t first = roll(&dice, 250), len = 1 + roll(&dice, QB_MIN(40, 256 - first));
            bool ok = !memchr(map + first, false, len);

            if (qb_guard_check(&file, QB_OP_WRITE, first, len) != (ok ? 0 : QB_EGUARD)) {
                CU_FAIL("the guard and the map disagree");
                return;
            }
        }
    }
}

static void a_forbidden_request_fails_alone_and_touches_nothing(void)
{
    static const enum qb_io_kind kinds[] = {QB_IO_URING, QB_IO_POSIX};

    for (size_t k = 0; k < 2; k++) {
        struct qb_file f = open_or_die(make_file("guarded", "0123456789", 10), true);
        struct qb_range allowed = {2, 4};
        char got[11] = "";
        struct qb_io *io = open_kind(kinds[k]);
        struct qb_req reqs[] = {{&f, QB_OP_WRITE, 2, 2, "ab", 0},
                                {&f, QB_OP_WRITE, 3, 2, "xy", 0},
                                {&f, QB_OP_SET_SIZE, 0, 0, NULL, 0}};

        if (io) {
            f.guard = (struct qb_guard){QB_PHASE_APPEND, &allowed, 1, 10};
            CU_ASSERT_EQUAL(qb_io_run(io, reqs, 3), 2);
            CU_ASSERT_EQUAL(reqs[0].error, 0);
            CU_ASSERT_EQUAL(reqs[1].error, QB_EGUARD);
            CU_ASSERT_EQUAL(reqs[2].error, QB_EGUARD);
            CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_READ, 0, 10, got), 0);
            CU_ASSERT_STRING_EQUAL(got, "01ab456789");
            CU_ASSERT_EQUAL(f.stats.write_ops, 1);
        }
        qb_io_close(io);
        qb_file_close(&f);
    }
}

/* ---- what io.c leaves out though the guard allows it ------------------------------------------
 */

static void a_stop_leaves_out_appends_but_neither_flip_nor_cut(void)
{
    struct qb_file f =
        open_or_die(make_file("stopped", memset((char[1024]){0}, 'o', 1024), 1024), true);
    struct qb_io *io = open_kind(QB_IO_POSIX);
    char sector[512], got[512];

    memset(sector, 'n', sizeof(sector));
    qb_io_set_stop(io, stop_always, NULL);
    unguard_for(&f, QB_PHASE_APPEND);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_WRITE, 0, 512, sector), ECANCELED);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_READ, 0, 512, got), ECANCELED);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_SET_SIZE, 2048, 0, NULL), 0);
    CU_ASSERT_EQUAL(f.size, 2048);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_SYNC, 0, 0, NULL), 0);
    f.guard = (struct qb_guard){.phase = QB_PHASE_FLIP};
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_WRITE, 0, 512, sector), 0);
    CU_ASSERT_EQUAL(pread(f.fd, got, 512, 0), 512);
    CU_ASSERT_EQUAL(memcmp(got, sector, 512), 0);
    qb_file_close(&f);
    qb_io_close(io);
}

/* In a child, since the limit holds for the process. */
static int flip_past_a_limit(const char *path)
{
    struct rlimit limit = {300, 300};
    struct qb_file f = open_or_die(path, true);
    struct qb_io *io = open_kind(QB_IO_POSIX);
    char sector[512] = "new", got[512];

    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    f.guard = (struct qb_guard){.phase = QB_PHASE_FLIP};
    if (run_one(io, &f, QB_OP_WRITE, 0, 512, sector) != EFBIG || pread(f.fd, got, 512, 0) != 512 ||
        got[0] != 'o')
        return 1;
    return 0;
}

static void a_limit_on_file_sizes_does_not_tear_the_flip(void)
{
    const char *path = make_file("limited", memset((char[1024]){0}, 'o', 1024), 1024);
    int status = -1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(flip_past_a_limit(path));
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT_EQUAL(status, 0);
}

/* Of a write that fails half-way, the half that was written counts. */
static int write_past_a_limit(const char *path)
{
    struct rlimit limit = {300, 300};
    struct qb_file f = open_or_die(path, true);
    struct qb_io *io = open_kind(QB_IO_POSIX);
    char bytes[512] = "new";

    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    unguard_for(&f, QB_PHASE_APPEND);
    return run_one(io, &f, QB_OP_WRITE, 0, 512, bytes) != EFBIG || f.size != 300;
}

static void a_write_that_failed_leaves_the_length_that_the_file_has(void)
{
    const char *path = make_file("half", "", 0);
    int status = -1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(write_past_a_limit(path));
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT_EQUAL(status, 0);
}

static void no_request_ends_past_2_63(void)
{
    struct qb_file f = open_or_die(make_file("far", "0123456789", 10), true);
    struct qb_io *io = open_kind(QB_IO_POSIX);
    struct qb_range all = {0, UINT64_MAX};
    char bytes[4] = "new";

    f.guard = (struct qb_guard){QB_PHASE_APPEND, &all, 1, 0};
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_WRITE, UINT64_MAX - 10, 4, bytes), EFBIG);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_WRITE, INT64_MAX - 3ull, 4, bytes), EFBIG);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_READ, UINT64_MAX - 10, 4, bytes), ENODATA);
    CU_ASSERT_EQUAL(f.size, 10);
    qb_file_close(&f);
    qb_io_close(io);
}

/* Any file serves: one that is not a device would be cut. */
static void a_device_keeps_its_length(void)
{
    struct qb_file f = open_or_die(make_file("device", "0123456789", 10), true);
    struct qb_io *io = open_kind(QB_IO_POSIX);

    f.is_block_device = true;
    unguard_for(&f, QB_PHASE_APPEND);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_SET_SIZE, 4, 0, NULL), EINVAL);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_SET_SIZE, 20, 0, NULL), EINVAL);
    CU_ASSERT_EQUAL(lseek(f.fd, 0, SEEK_END), 10);
    CU_ASSERT_EQUAL(f.size, 10);
    qb_file_close(&f);
    qb_io_close(io);
}

static void a_failure_says_whose_it_is(void)
{
    struct qb_file f = open_or_die(make_file("fails", "0123456789", 10), true);
    struct qb_io *io = open_kind(QB_IO_POSIX);
    struct qb_req refused = {&f, QB_OP_WRITE, 2, 2, "ab", QB_EGUARD};
    struct qb_err err = {0};
    char got[20];

    CU_ASSERT_EQUAL(qb_io_fail(&refused, "the table", &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_INTERNAL);
    CU_ASSERT_EQUAL(err.offset, 2);
    CU_ASSERT_EQUAL(qb_io_read(io, &f, 0, got, sizeof(got), "the table", &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_CORRUPT);
    qb_file_close(&f);
    qb_io_close(io);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(guard_lets_reads_and_syncs_through_in_every_phase),
        UNIT(guard_refuses_every_change_while_reading),
        UNIT(guard_allows_a_write_inside_one_range),
        UNIT(guard_refuses_a_write_outside_the_plan),
        UNIT(guard_allows_a_write_across_ranges_that_adjoin),
        UNIT(guard_is_not_fooled_by_lengths_that_wrap),
        UNIT(guard_keeps_the_phases_apart),
        UNIT(guard_lets_the_file_shrink_only_to_its_minimum),
        UNIT(guard_lets_the_flip_write_sector_0_and_nothing_else),
        UNIT(guard_without_ranges_refuses_all_writes),
        UNIT(guard_agrees_with_a_map_of_the_bytes),
        UNIT(a_forbidden_request_fails_alone_and_touches_nothing),
        UNIT(a_stop_leaves_out_appends_but_neither_flip_nor_cut),
        UNIT(a_limit_on_file_sizes_does_not_tear_the_flip),
        UNIT(a_write_that_failed_leaves_the_length_that_the_file_has),
        UNIT(no_request_ends_past_2_63),
        UNIT(a_device_keeps_its_length),
        UNIT(a_failure_says_whose_it_is),
    };

    return scratch_main("guard", tests, UNIT_COUNT(tests));
}
