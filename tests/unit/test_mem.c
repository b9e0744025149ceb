/* The memory back end: its log, the faults it injects, and what a power cut leaves. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dice.h"
#include "mem/mem.h"
#include "scratch.h"
#include "unit.h"
#include "opener/look.h"

static struct dice dice = {88172645463325252u};

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
        enum qb_op op = (enum qb_op)(QB_OP_WRITE + roll(&dice, 5));
        uint64_t at = roll(&dice, 6000), len = 1 + roll(&dice, sizeof(noise));

        run_one(m.io, &m.f[roll(&dice, 2)], op, at, len, noise);
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
        UNIT(the_log_holds_every_change_in_order),
        UNIT(a_memory_file_outlives_its_closing),
        UNIT(faults_come_when_ordered),
        UNIT(a_replay_of_everything_is_the_present),
        UNIT(a_torn_write_shows_every_mix_of_whole_sectors),
        UNIT(a_torn_fill_shows_every_mix_of_whole_sectors),
        UNIT(a_lost_growth_and_a_lost_write_are_different_states),
        UNIT(one_seed_is_one_state_of_the_machine),
    };

    return scratch_main("mem", tests, UNIT_COUNT(tests));
}
