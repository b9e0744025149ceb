/* What an append writes in special cases: many short pieces between holes, the last cluster of a
 * reserved file, refcount blocks that a dirty image has lost. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "amends.h"
#include "mem/mem_disk.h"
#include "poke.h"
#include "qbatch.h"
#include "scratch.h"
#include "unit.h"

static const struct image_shape small = {
    .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536};
static const struct qb_request down = {
    .set = QB_KEY_COMPAT, .compat = 2, .verify = QB_VERIFY_METADATA};

/* Amends, and has the engine's own census find nothing in what is there then. */
static void amended_is_whole(struct image_bytes *image, const struct qb_request *rq)
{
    struct qb_mem_log *log = run_machine(image);
    struct run r = run_amend(log, 0, rq, RUN_WHOLE);
    uint64_t corruptions = 1, leaks = 1;
    char why[200] = "";
    struct image_bytes now = run_content(log, 0);

    CU_ASSERT_EQUAL(r.rc, 0);
    CU_ASSERT_EQUAL(r.result.status, QB_STATUS_CHANGED);
    CU_ASSERT(run_census(&now, &corruptions, &leaks, why, sizeof(why)));
    if (corruptions || leaks)
        fprintf(stderr, "\n%s\n", why);
    CU_ASSERT_EQUAL(corruptions + leaks, 0);
    run_free(&r);
    qb_mem_log_free(log);
}

/* New tables of 64 KiB with one entry each: more pieces than are written in one go. */
static void every_piece_between_holes_is_written(void)
{
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 16, .refcount_order = 4, .size = 80ull << 29};
    char script[2000] = "";
    struct image_bytes image;

    for (unsigned i = 0; i < 80; i++)
        snprintf(script + strlen(script), sizeof(script) - strlen(script), "@%udz", i * 8192);
    image = image_make(&shape, script);
    amended_is_whole(&image, &down);
    image_bytes_free(&image);
}

/* With 64 bits a block describes 64 clusters: the image has several, and has lost the second. */
static void a_repair_describes_clusters_that_no_block_counts(void)
{
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 9, .refcount_order = 6, .size = 200 * 1024, .dirty = true};
    static const struct qb_request lazy = {.set = QB_KEY_LAZY_REFCOUNTS, .lazy_refcounts = true};
    static const struct poke lost = {IN_REFTABLE, 8, 8, 0};
    struct image_bytes image = image_make(&shape, "d250");

    poke_image(image.bytes, &lost);
    amended_is_whole(&image, &lazy);
    image_bytes_free(&image);
}

/* One data cluster lies further out than the refcount table reaches, all others are counted. */
static void a_repair_describes_clusters_past_the_refcount_table(void)
{
    enum { CLUSTER = 512, FAR = 64 * 64 * CLUSTER };
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 9, .refcount_order = 6, .size = 64 << 10};
    static const struct qb_request lazy = {.set = QB_KEY_LAZY_REFCOUNTS, .lazy_refcounts = true};
    static const struct poke moved = {IN_TABLE, 0, 8, 1ull << 63 | FAR};
    struct image_bytes image = image_make(&shape, "d");
    struct poke uncounted = {IN_BLOCK, 8 * (unsigned)(poke_place(image.bytes, IN_DATA) / CLUSTER),
                             8, 0};

    CU_ASSERT_EQUAL(image.bytes[59], 1); /* refcount_table_clusters */
    poke_image(image.bytes, &uncounted);
    poke_image(image.bytes, &moved);
    image.bytes[79] |= 1; /* dirty */
    image.bytes = realloc(image.bytes, FAR + CLUSTER);
    CU_ASSERT_FATAL(image.bytes != NULL);
    memset(image.bytes + image.size, 'x', FAR + CLUSTER - image.size);
    image.size = FAR + CLUSTER;
    amended_is_whole(&image, &lazy);
    image_bytes_free(&image);
}

/* Blocks of 64 refcounts instead of 256: their table takes two clusters instead of one. */
static void the_header_has_the_length_of_a_longer_refcount_table(void)
{
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 4 << 20};
    static const struct qb_request wide = {.set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64};
    struct image_bytes image = image_make(&shape, "d4200");

    CU_ASSERT_EQUAL(image.bytes[59], 1);
    amended_is_whole(&image, &wide);
    image_bytes_free(&image);
}

static enum qb_phase phase_of(struct qb_amend *a)
{
    return qb_amend_file(a)->guard.phase;
}

/* Between the epochs nothing may be written. */
static void the_guard_is_open_for_one_epoch_at_a_time(void)
{
    struct image_bytes image = image_make(&small, "d9z9");
    struct qb_mem_log *log = run_machine(&image);
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open(io, log, 0);
    struct qb_file *file = qb_amend_file(a);

    CU_ASSERT_EQUAL(qb_amend_plan(a, io, &down), 0);
    CU_ASSERT_EQUAL(phase_of(a), QB_PHASE_READ);
    CU_ASSERT_EQUAL(qb_amend_append(a, io), 0);
    CU_ASSERT_EQUAL(phase_of(a), QB_PHASE_APPEND);
    CU_ASSERT_NOT_EQUAL(qb_guard_check(file, QB_OP_SET_SIZE, image.size - 512, 0), 0);
    CU_ASSERT_NOT_EQUAL(qb_guard_check(file, QB_OP_WRITE, image.size - 512, 512), 0);
    CU_ASSERT_EQUAL(qb_amend_flip(a, io), 0);
    CU_ASSERT_EQUAL(phase_of(a), QB_PHASE_FLIP);
    CU_ASSERT_EQUAL(qb_amend_flipped(a, 0), 0);
    CU_ASSERT_EQUAL(phase_of(a), QB_PHASE_READ);
    CU_ASSERT_EQUAL(qb_amend_verify(a, io), 0);
    qb_amend_settle(a, io);
    CU_ASSERT_EQUAL(phase_of(a), QB_PHASE_READ);
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    image_bytes_free(&image);
}

static void put64(int fd, uint64_t at, uint64_t value)
{
    uint8_t bytes[8];

    poke_be(bytes, value, 8);
    CU_ASSERT_EQUAL(pwrite(fd, bytes, 8, (off_t)at), 8);
}

/* Clusters half a gigabyte apart, none of which the file holds, with refcounts of 1 bit: with 64
 * bits each would have a refcount block of its own. */
static void blocks_out_of_all_proportion_are_refused(void)
{
    enum { CLUSTER = 65536, BLOCKS = 24, EACH = 64 };
    static const uint8_t start[] = {'Q', 'F', 'I', 0xfb, 0, 0, 0, 3};
    static const struct qb_request wide = {
        .struct_size = sizeof(wide), .set = QB_KEY_REFCOUNT_BITS, .refcount_bits = 64};
    const struct qb_options options = {.struct_size = sizeof(options), .io = QB_IO_POSIX};
    const struct qb_result *result;
    const char *path = make_file("spread", start, sizeof(start));
    int fd = open(path, O_RDWR | O_CLOEXEC);

    put64(fd, 16, 16);            /* cluster_bits */
    put64(fd, 24, 8192ull << 16); /* the disk's size */
    put64(fd, 32, 1);             /* the L1 table's */
    put64(fd, 40, 2 * CLUSTER);   /* and place */
    put64(fd, 48, CLUSTER);       /* the refcount table */
    put64(fd, 56, 1ull << 32);    /* one cluster of it */
    put64(fd, 96, 104);           /* refcount_order 0, header_length */
    put64(fd, 2 * CLUSTER, 3 * CLUSTER | 1ull << 63);
    for (uint64_t b = 0; b < BLOCKS; b++) {
        uint64_t block = (16 + b) * CLUSTER;

        put64(fd, CLUSTER + 8 * b, block);
        for (uint64_t k = 0; k < EACH; k++) {
            uint64_t n = b * EACH + k; /* the cluster at n * 512 MiB; the first is the header's */

            CU_ASSERT_EQUAL(pwrite(fd, "\1", 1, (off_t)(block + k * 1024)), 1);
            if (n > 0)
                put64(fd, 3 * CLUSTER + 8 * n, n << 29 | 1ull << 63);
        }
    }
    CU_ASSERT_EQUAL(pwrite(fd, "\x0f\0\xff\xff\xff", 5, 16 * CLUSTER), 5); /* what is above */
    CU_ASSERT_EQUAL(ftruncate(fd, (off_t)BLOCKS * EACH << 29), 0);
    close(fd);
    CU_ASSERT_EQUAL(qb_amend_image(path, &wide, &options, &result), -1);
    CU_ASSERT_EQUAL(result->err.code, QB_E_REFUSED);
    if (!strstr(result->err.text, "the refcount blocks would take"))
        fprintf(stderr, "\n%s\n", result->err.text);
    CU_ASSERT_PTR_NOT_NULL(strstr(result->err.text, "the refcount blocks would take"));
    qb_result_free(result);
}

/* Where a file system cannot zero, zeros are written; no other request may fail. */
static void zeros_are_written_where_zeroing_does_not_work(void)
{
    static const int errors[] = {EOPNOTSUPP, ENOSYS, EINVAL, EIO};
    struct qb_request rq = down;

    rq.zero_method = QB_ZEROED_FALLOC;
    rq.punch_min = UINT64_MAX; /* a punch may fail */
    for (size_t i = 0; i < UNIT_COUNT(errors); i++) {
        unsigned amended = 0;

        for (uint64_t k = 0; k < 60; k++) {
            const struct image_shape backed = {.version = 3,
                                               .cluster_bits = 9,
                                               .refcount_order = 4,
                                               .size = 65536,
                                               .backing_file = amends_name("@long"),
                                               .backing_fmt = "raw"};
            struct image_bytes image = image_make(&backed, "d2z3");
            struct qb_mem_log *log = run_machine(&image);
            struct run r;

            qb_mem_fail(log, k, errors[i], false);
            r = run_amend(log, 0, &rq, RUN_WHOLE);
            amended += r.result.status == QB_STATUS_CHANGED && log->fault == 0;
            run_free(&r);
            qb_mem_log_free(log);
            image_bytes_free(&image);
        }
        CU_ASSERT_EQUAL(amended > 0, errors[i] != EIO);
    }
}

enum end { LOST, CANCELLED, REFUSED, N_ENDS };

/* However an amend ends before its flip: the old length, and the guard closed. */
static void an_amend_that_ends_early_leaves_the_file_as_long_as_it_was(void)
{
    for (int how = LOST; how < N_ENDS; how++) {
        struct image_bytes image = image_make(&small, "d9z9");
        struct qb_mem_log *log = run_machine(&image);
        struct qb_io *io = run_io(log);
        struct qb_amend *a = run_open(io, log, 0);
        uint64_t size;

        CU_ASSERT_EQUAL(qb_amend_plan(a, io, &down) + qb_amend_append(a, io), 0);
        CU_ASSERT(qb_amend_file(a)->size > image.size);
        if (how == LOST)
            qb_amend_append_lost(a, io, 5);
        if (how == CANCELLED)
            qb_amend_cancel(a, io, QB_E_CANCELLED);
        if (how == REFUSED) { /* somebody else writes the header */
            ((unsigned char *)(uintptr_t)qb_mem_content(log, 0, &size))[300] ^= 1;
            CU_ASSERT_EQUAL(qb_amend_flip(a, io), -1);
            CU_ASSERT_EQUAL(qb_amend_result(a)->err.code, QB_E_CHANGED);
        }
        CU_ASSERT_EQUAL(qb_amend_file(a)->size, image.size);
        CU_ASSERT_EQUAL(phase_of(a), QB_PHASE_READ);
        CU_ASSERT_PTR_NULL(qb_amend_result(a)->after);
        qb_amend_close(a);
        qb_io_close(io);
        qb_mem_log_free(log);
        image_bytes_free(&image);
    }
}

/* The disk may have the new header: nothing of the append is taken back. */
static void a_header_whose_write_failed_counts_as_sent(void)
{
    struct image_bytes image = image_make(&small, "d9z9");
    struct qb_mem_log *log = run_machine(&image);
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open(io, log, 0);
    const struct qb_result *result = qb_amend_result(a);
    uint64_t appended;

    CU_ASSERT_EQUAL(qb_amend_plan(a, io, &down) + qb_amend_append(a, io), 0);
    appended = qb_amend_file(a)->size;
    CU_ASSERT_FALSE(qb_amend_has_flipped(a) || result->header_sent);
    qb_mem_fail(log, 1, EIO, false); /* the header is read once more before that */
    CU_ASSERT_EQUAL(qb_amend_flip(a, io), -1);
    CU_ASSERT_EQUAL(qb_amend_result(a)->err.sys_errno, EIO);
    CU_ASSERT_TRUE(qb_amend_has_flipped(a));
    CU_ASSERT_TRUE(result->header_sent);
    CU_ASSERT_FALSE(result->committed);
    qb_amend_cancel(a, io, QB_E_CANCELLED);
    CU_ASSERT_EQUAL(qb_amend_file(a)->size, appended);
    CU_ASSERT_EQUAL(phase_of(a), QB_PHASE_READ);
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    image_bytes_free(&image);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(every_piece_between_holes_is_written),
        UNIT(a_repair_describes_clusters_that_no_block_counts),
        UNIT(a_repair_describes_clusters_past_the_refcount_table),
        UNIT(the_header_has_the_length_of_a_longer_refcount_table),
        UNIT(blocks_out_of_all_proportion_are_refused),
        UNIT(zeros_are_written_where_zeroing_does_not_work),
        UNIT(the_guard_is_open_for_one_epoch_at_a_time),
        UNIT(an_amend_that_ends_early_leaves_the_file_as_long_as_it_was),
        UNIT(a_header_whose_write_failed_counts_as_sent),
    };

    int rc;

    amends_begin();
    rc = scratch_main("append", tests, UNIT_COUNT(tests));
    amends_end();
    return rc;
}
