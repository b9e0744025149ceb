/* What qb_amend_memory says an image holds, against what malloc says: on images that are made to
 * take memory, each in its own way.  Waves are sized by it, so it has to be the truth. */
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "amend/amend.h"
#include "qcow2/disk.h"
#include "unit.h"

#if defined(__SANITIZE_ADDRESS__)
#define MALLOC_IS_ITS_OWN 1 /* mallinfo2 knows nothing of the sanitizer's allocator */
#endif

/* A sparse version 3 image whose tables are what `fill` makes of them.  The dirty bit has its
 * refcounts rebuilt, so that they need not be right. */
struct shape {
    const char *name;
    unsigned cluster_bits;
    uint32_t l1_size, reftable_clusters, nb_snapshots;
    uint64_t l1_offset, reftable_offset, snapshots_offset, file_size;
    void (*fill)(int fd, const struct shape *shape);
};

static void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void put64(uint8_t *at, uint64_t value)
{
    put32(at, (uint32_t)(value >> 32));
    put32(at + 4, (uint32_t)value);
}

static void write_at(int fd, uint64_t offset, const void *bytes, size_t len)
{
    CU_ASSERT_EQUAL_FATAL(pwrite(fd, bytes, len, (off_t)offset), (ssize_t)len);
}

static void write_words(int fd, uint64_t offset, uint64_t first, uint64_t step, size_t n)
{
    uint8_t *words = malloc(8 * n);

    CU_ASSERT_PTR_NOT_NULL_FATAL(words);
    for (size_t i = 0; i < n; i++)
        put64(words + 8 * i, first + step * i);
    write_at(fd, offset, words, 8 * n);
    free(words);
}

static void make(const char *path, const struct shape *s)
{
    uint8_t header[112] = {'Q', 'F', 'I', 0xfb, 0, 0, 0, 3};
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    CU_ASSERT_FATAL(fd >= 0);
    put32(header + 20, s->cluster_bits);
    put64(header + 24, (uint64_t)s->l1_size << (2 * s->cluster_bits - 3)); /* size */
    put32(header + 36, s->l1_size);
    put64(header + 40, s->l1_offset);
    put64(header + 48, s->reftable_offset);
    put32(header + 56, s->reftable_clusters);
    put32(header + 60, s->nb_snapshots);
    put64(header + 64, s->snapshots_offset);
    put64(header + 72, QB_INCOMPAT_DIRTY);
    put32(header + 96, 4);
    put32(header + 100, 104);
    write_at(fd, 0, header, sizeof(header));
    CU_ASSERT_EQUAL_FATAL(ftruncate(fd, (off_t)s->file_size), 0);
    s->fill(fd, s);
    close(fd);
}

enum { MIB = 1 << 20 };

/* L2 tables one behind the other, in a hole. */
static void name_l2_tables(int fd, const struct shape *s)
{
    write_words(fd, s->l1_offset, 8 * MIB, UINT64_C(1) << s->cluster_bits, s->l1_size);
}

/* L2 tables far from each other, a page of counts for each. */
static void spread_l2_tables(int fd, const struct shape *s)
{
    write_words(fd, s->l1_offset, 8 * MIB, MIB / 2, s->l1_size);
}

static void name_refcount_blocks(int fd, const struct shape *s)
{
    write_words(fd, s->reftable_offset, 64 * MIB, UINT64_C(1) << s->cluster_bits,
                (size_t)s->reftable_clusters << (s->cluster_bits - 3));
}

static void name_snapshots(int fd, const struct shape *s)
{
    uint8_t entry[64] = {0};

    put32(entry + 36, 16);
    for (uint32_t i = 0; i < s->nb_snapshots; i++)
        write_at(fd, s->snapshots_offset + 56ull * i, entry, 56);
}

static void fill_the_header_cluster(int fd, const struct shape *s)
{
    static uint8_t head[2 * MIB];

    for (size_t at = 104; at + 16 <= sizeof(head); at += 8) /* empty extensions */
        put32(head + at, 0x7b7b7b7b);
    memset(head + sizeof(head) - 16, 0, 16);
    write_at(fd, 104, head + 104, sizeof(head) - 104);
    (void)s;
}

static const struct shape shapes[] = {
    {"many L2 tables", 9, 100000, 1, 0, 1 * MIB, 512, 0, 100 * MIB, name_l2_tables},
    {"L2 tables far apart", 9, 4000, 1, 0, 1 * MIB, 512, 0, 2100ull * MIB, spread_l2_tables},
    {"a huge refcount table", 9, 1, 4000, 0, 1 * MIB, 4 * MIB, 0, 300 * MIB, name_refcount_blocks},
    {"many snapshots", 9, 1, 1, 60000, 1 * MIB, 512, 2 * MIB, 16 * MIB, name_snapshots},
    {"a header of 2 MiB", 21, 1, 1, 0, 4 * MIB, 2 * MIB, 0, 8 * MIB, fill_the_header_cluster},
};

static size_t in_use(void)
{
#ifdef MALLOC_IS_ITS_OWN
    return 0;
#else
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
#endif
}

/* What malloc gave out for the image, and what qb_amend_memory says of it. */
static void weigh(const struct shape *s, uint64_t limit, struct qb_err *err)
{
    struct qb_request rq = {.set = QB_KEY_LAZY_REFCOUNTS, .memory_limit = limit};
    char path[] = "/tmp/qbatch-memory-XXXXXX";
    int fd = mkstemp(path);
    struct qb_io *io;
    struct qb_amend *a;
    size_t before, after, said;

    CU_ASSERT_FATAL(fd >= 0);
    close(fd);
    make(path, s);
    CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &io, NULL, err), 0);
    before = in_use();
    a = qb_amend_new(path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_EQUAL(qb_amend_open(a, io, (struct qb_claim){0}, NULL), 0);
    qb_amend_plan(a, io, &rq);
    after = in_use();
    said = qb_amend_memory(a);
    *err = *qb_amend_err(a);
#ifndef MALLOC_IS_ITS_OWN
    /* malloc counts the chunks in its caches as given out, so what comes from there is not seen. */
    const size_t cached = 4096;

    printf("\n    %s: %zu KiB, malloc has %zu KiB; %s", s->name, said >> 10, (after - before) >> 10,
           err->text);
    CU_ASSERT(said * 10 >= (after - before) * 9); /* no less than there is, but for a tenth */
    CU_ASSERT(said <= (after - before) * 14 / 10 + cached); /* nor much more */
#else
    (void)before, (void)after, (void)said;
#endif
    qb_amend_close(a);
    qb_io_close(io);
    unlink(path);
}

static void what_an_image_holds_is_what_is_said(void)
{
    struct qb_err err;

    for (size_t i = 0; i < UNIT_COUNT(shapes); i++) {
        weigh(&shapes[i], 512 * MIB, &err);
        CU_ASSERT_EQUAL(err.code, QB_E_NONE);
    }
}

static void a_plan_stays_below_its_limit_or_fails(void)
{
    struct qb_err err;

    for (size_t i = 0; i < 4; i++) { /* the last has its memory before there is a plan */
        weigh(&shapes[i], MIB, &err);
        CU_ASSERT_EQUAL(err.code, QB_E_MEMORY);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(what_an_image_holds_is_what_is_said),
        UNIT(a_plan_stays_below_its_limit_or_fails),
    };

    return unit_main("memory", tests, UNIT_COUNT(tests));
}
