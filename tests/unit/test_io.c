/* The io layer: files, guard, locks, the three back ends, barriers and the simulated power cut. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/mem.h"
#include "unit.h"

/* ---- helpers --------------------------------------------------------------------------------- */

static char folder[64];

/* A path in the test's own folder; valid until the fourth call after it. */
static const char *in_folder(const char *name)
{
    static char paths[4][160];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static const char *make_file(const char *name, const void *bytes, size_t n)
{
    const char *path = in_folder(name);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n)
        abort();
    close(fd);
    return path;
}

static struct qb_file open_or_die(const char *path, bool writable)
{
    struct qb_file file;
    struct qb_err err;

    if (qb_file_open(path, writable, &file, &err) < 0) {
        fprintf(stderr, "%s: %s\n", path, err.text);
        abort();
    }
    return file;
}

static const struct qb_range everywhere = {0, UINT64_MAX};

static void unguard_for(struct qb_file *file, enum qb_phase phase)
{
    file->guard = (struct qb_guard){phase, &everywhere, 1, 0};
}

static void unguard(struct qb_file *file)
{
    unguard_for(file, QB_PHASE_APPEND);
}

static uint64_t rnd_state = 88172645463325252u;

static uint64_t rnd(uint64_t below)
{
    rnd_state ^= rnd_state << 13;
    rnd_state ^= rnd_state >> 7;
    rnd_state ^= rnd_state << 17;
    return (rnd_state >> 11) % below;
}

static int run_one(struct qb_io *io, struct qb_file *f, enum qb_op op, uint64_t at, uint64_t len,
                   void *buf)
{
    struct qb_req req = {f, op, at, len, buf, 0};

    if (f->guard.allowed == &everywhere) /* no phase allows all that an unguarded file may do */
        unguard_for(f, op == QB_OP_PUNCH ? QB_PHASE_SETTLE : QB_PHASE_APPEND);
    qb_io_run(io, &req, 1);
    return req.error;
}

/* A host may forbid io_uring: NULL then. */
static struct qb_io *open_kind(enum qb_io_kind kind)
{
    struct qb_io *io = NULL;
    struct qb_err err;

    if (qb_io_open(kind, &io, NULL, &err) < 0)
        return NULL;
    return io;
}

/* ---- guard ----------------------------------------------------------------------------------- */

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
    CU_ASSERT_EQUAL(asks(QB_PHASE_APPEND, QB_OP_PUNCH, 1000, 10), QB_EGUARD);
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
        uint64_t at = rnd(8);

        while (n < 16 && at < 240) {
            ranges[n] = (struct qb_range){at, at + 1 + rnd(12)};
            memset(map + at, true, ranges[n].end - at);
            at = ranges[n++].end + (rnd(2) ? rnd(9) : 0);
        }
        for (int i = 0; i < 500; i++) {
            struct qb_file file = {.guard = {QB_PHASE_APPEND, ranges, n, 0}};
            uint64_t first = rnd(250), len = 1 + rnd(QB_MIN(40, 256 - first));
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

/* ---- files ----------------------------------------------------------------------------------- */

static void refuses_with(const char *path, enum qb_code code, const char *text)
{
    struct qb_file file = {.size = 77};
    struct qb_err err = {0};

    CU_ASSERT_EQUAL(qb_file_open(path, false, &file, &err), -1);
    CU_ASSERT_EQUAL(err.code, code);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, text));
    CU_ASSERT_EQUAL(file.size, 77);
    CU_ASSERT_EQUAL(qb_file_open(path, true, &file, NULL), -1);
}

static void open_refuses_what_is_no_image_without_waiting(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);

    mkfifo(in_folder("fifo"), 0600);
    memcpy(name.sun_path, in_folder("sock"), strlen(in_folder("sock")) + 1);
    CU_ASSERT_EQUAL_FATAL(bind(sock, (struct sockaddr *)&name, sizeof(name)), 0);
    close(sock);

    refuses_with(folder, QB_E_NOT_QCOW2, "is a directory");
    refuses_with(in_folder("fifo"), QB_E_NOT_QCOW2, "is a FIFO");
    refuses_with(in_folder("sock"), QB_E_NOT_QCOW2, "is a socket");
    refuses_with("/dev/null", QB_E_NOT_QCOW2, "is a character device");
    refuses_with(in_folder("absent"), QB_E_NOT_FOUND, "cannot open");
    refuses_with("", QB_E_NOT_FOUND, "cannot open");
}

static void open_starts_with_nothing_allowed(void)
{
    struct qb_file f = open_or_die(make_file("plain", "hello", 5), true);

    CU_ASSERT_EQUAL(f.size, 5);
    CU_ASSERT_EQUAL(f.guard.phase, QB_PHASE_READ);
    CU_ASSERT_FALSE(f.is_block_device);
    CU_ASSERT_TRUE(f.writable);
    CU_ASSERT_EQUAL(fcntl(f.fd, F_GETFL) & O_NONBLOCK, 0);
    CU_ASSERT_EQUAL(fcntl(f.fd, F_GETFD), FD_CLOEXEC);
    qb_file_close(&f);
    CU_ASSERT_EQUAL(f.fd, -1);
    qb_file_close(&f);
}

static void closing_an_empty_struct_leaves_standard_input_open(void)
{
    struct qb_file f = {0};

    qb_file_close(&f);
    CU_ASSERT_NOT_EQUAL(fcntl(STDIN_FILENO, F_GETFD), -1);
}

static void still_there_notices_a_replaced_file(void)
{
    struct qb_file f = open_or_die(make_file("here", "a", 1), false);

    CU_ASSERT_TRUE(qb_file_still_there(&f));
    make_file("other", "b", 1);
    CU_ASSERT_EQUAL_FATAL(rename(in_folder("other"), in_folder("here")), 0);
    CU_ASSERT_FALSE(qb_file_still_there(&f));
    unlink(in_folder("here"));
    CU_ASSERT_FALSE(qb_file_still_there(&f));
    qb_file_close(&f);
}

static void holes_are_known_and_forgotten_when_written(void)
{
    struct qb_file f = open_or_die(make_file("sparse", "", 0), true);
    struct qb_io *io = open_kind(QB_IO_POSIX);
    char data[65536];

    memset(data, 'x', sizeof(data));
    unguard(&f);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_SET_SIZE, 8 << 20, 0, NULL), 0);
    CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_WRITE, 1 << 20, sizeof(data), data), 0);
    if (lseek(f.fd, 0, SEEK_DATA) == 1 << 20) { /* else this file system does not tell */
        CU_ASSERT_TRUE(qb_file_is_hole(&f, 0, 1 << 20));
        CU_ASSERT_FALSE(qb_file_is_hole(&f, 0, (1 << 20) + 1));
        CU_ASSERT_FALSE(qb_file_is_hole(&f, 1 << 20, 1));
        CU_ASSERT_TRUE(qb_file_is_hole(&f, 2 << 20, 6 << 20));
        CU_ASSERT_FALSE(qb_file_is_hole(&f, 2 << 20, (6 << 20) + 1));
        CU_ASSERT_FALSE(qb_file_is_hole(&f, 8 << 20, 1));
        CU_ASSERT_TRUE(qb_file_is_hole(&f, 4 << 20, 65536));
        CU_ASSERT_EQUAL(run_one(io, &f, QB_OP_WRITE, 4 << 20, sizeof(data), data), 0);
        CU_ASSERT_FALSE(qb_file_is_hole(&f, 4 << 20, 65536));
        CU_ASSERT_TRUE(qb_file_allocated(&f) < 1 << 20);
    }
    CU_ASSERT_FALSE(qb_file_is_hole(&f, UINT64_MAX, 2));
    qb_io_close(io);
    qb_file_close(&f);
}

/* ---- locks ----------------------------------------------------------------------------------- */

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

static int try_lock(const char *path, bool for_amend, struct qb_err *err)
{
    struct qb_file f = open_or_die(path, for_amend);
    int rc = qb_file_lock(&f, for_amend, err);

    qb_file_close(&f);
    return rc;
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
    CU_ASSERT_EQUAL(read(ready[0], &c, 1), 1);
    CU_ASSERT_EQUAL(try_lock(path, true, NULL), -1);
    close(done[1]);
    waitpid(pid, &status, 0);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_EQUAL(try_lock(path, true, NULL), 0);
    close(ready[0]);
    close(ready[1]);
    close(done[0]);
}

/* ---- back ends ------------------------------------------------------------------------------- */

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

    rnd_state = seed;
    unguard_for(f, settles ? QB_PHASE_SETTLE : QB_PHASE_APPEND);
    for (size_t i = 0; i < BATCH; i++) {
        enum qb_op op = settles ? settle[rnd(2)] : append[rnd(with_zero ? 4 : 3)];
        uint64_t at = i * slice + rnd(slice / 2), len = 1 + rnd(slice / 2);
        unsigned char *buf = payload + i * slice;

        for (size_t b = 0; b < len; b++)
            buf[b] = (unsigned char)rnd(256);
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
        bytes[i] = (unsigned char)rnd(256);
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

/* Puts /dev/null in the place of the ring, as a kernel might that has lost it. */
static bool spoil_ring(void)
{
    bool spoiled = false;

    for (int fd = 3; fd < 64; fd++) {
        char link[64], to[64] = "";
        int null_fd;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        if (readlink(link, to, sizeof(to) - 1) < 0 || !strstr(to, "io_uring"))
            continue;
        null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        spoiled = dup2(null_fd, fd) == fd;
        close(null_fd);
    }
    return spoiled;
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

/* ---- fill ------------------------------------------------------------------------------------ */

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
    CU_ASSERT_EQUAL(f.stats.zeroed_bytes, len);
    CU_ASSERT_EQUAL(f.stats.write_bytes, 0);
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
        char shm[] = "/dev/shm/test_io.XXXXXX";
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
            CU_ASSERT_EQUAL(f.stats.zeroed_bytes, 0);
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
                        mount("", folder, "tmpfs", 0, "size=8m") < 0))
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
    if (f.size > 33 << 20 || f.stats.zeroed_bytes || f.stats.write_ops)
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

/* ---- barrier --------------------------------------------------------------------------------- */

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

/* ---- the memory back end --------------------------------------------------------------------- */

struct machine {
    struct qb_mem_log *log;
    struct qb_io *io;
    struct qb_file f[2];
};

static struct machine machine_new(void)
{
    struct machine m = {.log = qb_mem_log_new()};
    unsigned char old[2048];

    memset(old, 'o', sizeof(old));
    m.io = qb_io_open_mem(m.log);
    for (size_t i = 0; i < 2; i++) {
        if (qb_mem_file(m.log, old, sizeof(old), &m.f[i]) < 0)
            abort();
        unguard(&m.f[i]);
    }
    return m;
}

static void machine_free(struct machine *m)
{
    qb_file_close(&m->f[0]);
    qb_file_close(&m->f[1]);
    qb_io_close(m->io);
    qb_mem_log_free(m->log);
}

static void the_log_holds_every_change_in_order(void)
{
    struct machine m = machine_new();
    struct qb_file *list[] = {&m.f[0], &m.f[1]};
    const struct qb_mem_event *e;
    int errors[2];
    char c;

    run_one(m.io, &m.f[0], QB_OP_SET_SIZE, 4096, 0, NULL);
    run_one(m.io, &m.f[1], QB_OP_WRITE, 100, 3, "abc");
    run_one(m.io, &m.f[1], QB_OP_READ, 0, 1, &c);
    CU_ASSERT_EQUAL(qb_io_barrier(m.io, list, 2, QB_SYNC_AUTO, errors), 0);
    run_one(m.io, &m.f[0], QB_OP_PUNCH, 0, 512, NULL);
    run_one(m.io, &m.f[0], QB_OP_ZERO, 4096, 512, NULL);
    run_one(m.io, &m.f[0], QB_OP_FILL, 4608, 1000, NULL);

    CU_ASSERT_EQUAL_FATAL(qb_mem_events(m.log, &e), 6);
    CU_ASSERT(e[0].op == QB_OP_SET_SIZE && e[0].offset == 4096 && e[0].disk == 0);
    CU_ASSERT(e[1].op == QB_OP_WRITE && e[1].disk == 1 && memcmp(e[1].bytes, "abc", 3) == 0);
    CU_ASSERT(e[2].op == QB_OP_SYNC);
    CU_ASSERT(e[3].op == QB_OP_PUNCH && e[3].len == 512);
    CU_ASSERT(e[4].op == QB_OP_ZERO);
    CU_ASSERT(e[5].op == QB_OP_FILL && e[5].len == 1000 && !e[5].bytes);
    CU_ASSERT_EQUAL(m.f[0].size, 5608);
    CU_ASSERT_EQUAL(m.f[1].stats.barriers, 1);
    machine_free(&m);
}

static void a_memory_file_outlives_its_closing(void)
{
    struct machine m = machine_new();
    char got[3];

    run_one(m.io, &m.f[0], QB_OP_WRITE, 0, 3, "new");
    qb_file_close(&m.f[0]);
    CU_ASSERT_EQUAL(qb_mem_reopen(m.log, 0, &m.f[0]), 0);
    CU_ASSERT_EQUAL(m.f[0].guard.phase, QB_PHASE_READ);
    CU_ASSERT_EQUAL(m.f[0].size, 2048);
    CU_ASSERT_EQUAL(run_one(m.io, &m.f[0], QB_OP_READ, 0, 3, got), 0);
    CU_ASSERT_EQUAL(memcmp(got, "new", 3), 0);
    CU_ASSERT_TRUE(qb_file_still_there(&m.f[0]));
    CU_ASSERT_FALSE(qb_file_is_hole(&m.f[0], 0, 1));
    CU_ASSERT_EQUAL(qb_file_lock(&m.f[0], true, NULL), 0);
    machine_free(&m);
}

static void faults_come_when_ordered(void)
{
    struct machine m = machine_new();
    struct qb_file *list[] = {&m.f[0], &m.f[1]};
    const struct qb_mem_event *e;
    int errors[2];
    char c;

    qb_mem_fail(m.log, 2, ENOSPC, false);
    CU_ASSERT_EQUAL(run_one(m.io, &m.f[0], QB_OP_READ, 0, 1, &c), 0);
    CU_ASSERT_EQUAL(run_one(m.io, &m.f[0], QB_OP_SET_SIZE, 4096, 0, NULL), 0);
    CU_ASSERT_EQUAL(run_one(m.io, &m.f[0], QB_OP_WRITE, 0, 1, "x"), ENOSPC);
    CU_ASSERT_EQUAL(run_one(m.io, &m.f[0], QB_OP_WRITE, 0, 1, "x"), 0);

    qb_mem_fail(m.log, 0, EIO, true);
    CU_ASSERT_EQUAL(qb_io_barrier(m.io, list, 2, QB_SYNC_AUTO, errors), 2);
    CU_ASSERT(errors[0] == EIO && errors[1] == EIO);
    CU_ASSERT_EQUAL(run_one(m.io, &m.f[0], QB_OP_READ, 0, 1, &c), EIO);
    qb_mem_fail(m.log, 0, 0, false);
    CU_ASSERT_EQUAL(run_one(m.io, &m.f[0], QB_OP_READ, 0, 1, &c), 0);
    CU_ASSERT_EQUAL(qb_mem_events(m.log, &e), 2);
    machine_free(&m);
}

static void a_replay_of_everything_is_the_present(void)
{
    struct machine m = machine_new();
    const struct qb_mem_event *e;
    unsigned char noise[1500];

    memset(noise, 'n', sizeof(noise));
    for (int i = 0; i < 200; i++) {
        enum qb_op op = (enum qb_op)(QB_OP_WRITE + rnd(5));
        uint64_t at = rnd(6000), len = 1 + rnd(sizeof(noise));

        run_one(m.io, &m.f[rnd(2)], op, at, len, noise);
    }
    for (unsigned disk = 0; disk < 2; disk++) {
        size_t n = qb_mem_events(m.log, &e);
        unsigned char *got;
        uint64_t size, want_size;
        const unsigned char *want = qb_mem_content(m.log, disk, &want_size);

        for (size_t sure = 0; sure <= n; sure += n / 2) {
            CU_ASSERT_EQUAL_FATAL(qb_mem_replay(m.log, disk, sure, n, 0, &got, &size), 0);
            CU_ASSERT_EQUAL_FATAL(size, want_size);
            CU_ASSERT_EQUAL(memcmp(got, want, size), 0);
            free(got);
        }
        CU_ASSERT_EQUAL(qb_mem_replay(m.log, disk, 0, 0, 0, &got, &size), 0);
        CU_ASSERT_EQUAL(size, 2048);
        CU_ASSERT(got[0] == 'o' && got[2047] == 'o');
        free(got);
    }
    machine_free(&m);
}

/* Bit i is set when sector i of [256, 1280) is new; -1 when a sector is mixed. */
static int new_pieces(const unsigned char *got)
{
    static const unsigned edges[] = {256, 512, 1024, 1280};
    int bits = 0;

    for (size_t i = 0; i < 3; i++) {
        unsigned char first = got[edges[i]];

        for (unsigned at = edges[i]; at < edges[i + 1]; at++) {
            if (got[at] != first)
                return -1;
        }
        bits |= (first == 'n') << i;
    }
    return bits;
}

static void a_torn_write_shows_every_mix_of_whole_sectors(void)
{
    struct machine m = machine_new();
    unsigned char noise[1024];
    unsigned seen = 0;

    memset(noise, 'n', sizeof(noise));
    run_one(m.io, &m.f[0], QB_OP_WRITE, 256, sizeof(noise), noise);
    for (uint64_t seed = 1; seed <= 200; seed++) {
        unsigned char *got;
        uint64_t size;
        int pieces;

        CU_ASSERT_EQUAL_FATAL(qb_mem_replay(m.log, 0, 0, 1, seed, &got, &size), 0);
        pieces = new_pieces(got);
        CU_ASSERT(pieces >= 0);
        seen |= 1u << pieces;
        CU_ASSERT(got[255] == 'o' && got[1280] == 'o' && size == 2048);
        free(got);
    }
    CU_ASSERT_EQUAL(seen, 0xff);
    machine_free(&m);
}

static void a_torn_fill_shows_every_mix_of_whole_sectors(void)
{
    struct machine m = machine_new();
    unsigned seen = 0;

    run_one(m.io, &m.f[0], QB_OP_FILL, 512, 1536, NULL);
    for (uint64_t seed = 1; seed <= 200; seed++) {
        unsigned char *got;
        uint64_t size;

        CU_ASSERT_EQUAL_FATAL(qb_mem_replay(m.log, 0, 0, 1, seed, &got, &size), 0);
        CU_ASSERT_EQUAL_FATAL(size, 2048);
        for (unsigned at = 0; at < 2048; at += 512)
            CU_ASSERT(memcmp(got + at, got + at + 1, 511) == 0);
        CU_ASSERT_EQUAL(got[0], 'o');
        seen |= 1u << ((got[512] == 0) | (got[1024] == 0) << 1 | (got[1536] == 0) << 2);
        free(got);
    }
    CU_ASSERT_EQUAL(seen, 0xff);
    machine_free(&m);
}

/* The length and the bytes can get lost independently of each other. */
static void a_lost_growth_and_a_lost_write_are_different_states(void)
{
    struct machine m = machine_new();
    unsigned seen = 0;

    run_one(m.io, &m.f[0], QB_OP_SET_SIZE, 4096, 0, NULL);
    run_one(m.io, &m.f[0], QB_OP_WRITE, 3000, 4, "data");
    for (uint64_t seed = 1; seed <= 100; seed++) {
        unsigned char *got;
        uint64_t size;

        CU_ASSERT_EQUAL_FATAL(qb_mem_replay(m.log, 0, 0, 2, seed, &got, &size), 0);
        if (size == 2048) {
            seen |= 1;
        } else if (size == 3004) {
            seen |= memcmp(got + 3000, "data", 4) == 0 && got[2048] == 0 ? 2 : 16;
        } else {
            CU_ASSERT_EQUAL(size, 4096);
            seen |= memcmp(got + 3000, "data", 4) == 0 ? 4 : 8;
            CU_ASSERT(got[2999] == 0 && got[3004] == 0);
        }
        free(got);
    }
    CU_ASSERT_EQUAL(seen, 15);
    machine_free(&m);
}

/* Both disks get the same seed, and the second one's fate must not depend on which is asked for. */
static void one_seed_is_one_state_of_the_machine(void)
{
    struct machine m = machine_new();
    bool differ = false;

    run_one(m.io, &m.f[0], QB_OP_WRITE, 0, 1024, memset((char[1024]){0}, 'n', 1024));
    run_one(m.io, &m.f[1], QB_OP_WRITE, 0, 1024, memset((char[1024]){0}, 'n', 1024));
    for (uint64_t seed = 1; seed < 50; seed++) {
        unsigned char *a, *b;
        uint64_t size;

        CU_ASSERT_EQUAL_FATAL(qb_mem_replay(m.log, 0, 0, 2, seed, &a, &size), 0);
        CU_ASSERT_EQUAL_FATAL(qb_mem_replay(m.log, 1, 0, 2, seed, &b, &size), 0);
        differ |= memcmp(a, b, 2048) != 0;
        free(a);
        CU_ASSERT_EQUAL_FATAL(qb_mem_replay(m.log, 1, 0, 2, seed, &a, &size), 0);
        CU_ASSERT_EQUAL(memcmp(a, b, 2048), 0);
        free(a);
        free(b);
    }
    CU_ASSERT_TRUE(differ);
    machine_free(&m);
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
        UNIT(open_refuses_what_is_no_image_without_waiting),
        UNIT(open_starts_with_nothing_allowed),
        UNIT(closing_an_empty_struct_leaves_standard_input_open),
        UNIT(still_there_notices_a_replaced_file),
        UNIT(holes_are_known_and_forgotten_when_written),
        UNIT(locks_see_each_byte_that_matters),
        UNIT(two_amends_exclude_each_other_and_readers_do_not),
        UNIT(a_lost_conflict_leaves_no_lock_behind),
        UNIT(a_lock_of_another_process_is_seen_and_ends_with_it),
        UNIT(a_short_file_is_no_data),
        UNIT(failures_are_put_into_words),
        UNIT(all_back_ends_do_the_same),
        UNIT(a_batch_larger_than_the_ring_reads_every_byte),
        UNIT(a_ring_that_breaks_does_not_lose_requests),
        UNIT(the_wrong_kind_of_file_is_refused_by_the_kernel),
        UNIT(a_size_that_no_file_can_have_is_refused),
        UNIT(auto_falls_back_with_a_reason),
        UNIT(a_fill_is_zeros_from_its_first_byte_to_its_last),
        UNIT(a_fill_works_where_direct_writes_do_not),
        UNIT(a_fill_on_a_broken_ring_is_complete),
        UNIT(a_fill_keeps_to_what_the_file_was_opened_for),
        UNIT(a_fill_keeps_the_locks),
        UNIT(a_fill_that_does_not_fit_says_so),
        UNIT(a_barrier_covers_files_in_every_way),
        UNIT(a_barrier_fails_for_the_file_that_cannot_be_synced),
        UNIT(the_log_holds_every_change_in_order),
        UNIT(a_memory_file_outlives_its_closing),
        UNIT(faults_come_when_ordered),
        UNIT(a_replay_of_everything_is_the_present),
        UNIT(a_torn_write_shows_every_mix_of_whole_sectors),
        UNIT(a_torn_fill_shows_every_mix_of_whole_sectors),
        UNIT(a_lost_growth_and_a_lost_write_are_different_states),
        UNIT(one_seed_is_one_state_of_the_machine),
    };
    const char *tmp = getenv("TMPDIR");
    char clean[96];
    int rc;

    snprintf(folder, sizeof(folder), "%s/test_io.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(folder))
        return 2;
    rc = unit_main("io", tests, UNIT_COUNT(tests));
    snprintf(clean, sizeof(clean), "rm -rf '%s'", folder);
    return system(clean) ? 2 : rc;
}
