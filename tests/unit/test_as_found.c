/* The fingerprint of a whole file: every byte counts, holes and zeros are the same, and a block
 * that cannot be read is not one that can. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "amend/as_found.h"
#include "mem/mem.h"
#include "scratch.h"
#include "unit.h"

enum { SIZE = (5 << 20) / 2 + 77 }; /* two windows, a part of one, a part of a block */

struct subject {
    struct qb_mem_log *log;
    struct qb_io *io;
    struct qb_file file;
    unsigned char *bytes;
};

static struct subject subject_of(unsigned char *bytes, uint64_t size)
{
    struct subject s = {.log = qb_mem_log_new(), .bytes = bytes};

    s.io = qb_io_open_mem(s.log);
    if (!bytes || qb_mem_file(s.log, bytes, size, &s.file) < 0)
        abort();
    return s;
}

static struct qb_digest ends(struct subject *s)
{
    struct qb_digest d;
    struct qb_err err = {0};

    CU_ASSERT_EQUAL(qb_as_found(s->io, &s->file, &d, &err), 0);
    CU_ASSERT(!qb_digest_is_empty(d));
    qb_file_close(&s->file);
    qb_io_close(s->io);
    qb_mem_log_free(s->log);
    return d;
}

static struct qb_digest of(unsigned char *bytes, uint64_t size)
{
    struct subject s = subject_of(bytes, size);

    return ends(&s);
}

static unsigned char *some_bytes(void)
{
    unsigned char *bytes = calloc(1, SIZE);

    if (!bytes)
        abort();
    memset(bytes, 'a', 9000);
    memset(bytes + SIZE - 5000, 'z', 5000);
    return bytes;
}

static void every_byte_and_the_length_count(void)
{
    static const uint64_t places[] = {0, 511, 4096, 8999, 9000, 1 << 20, (1 << 20) - 1, SIZE - 1};
    unsigned char *bytes = some_bytes();
    struct qb_digest all = of(bytes, SIZE);

    CU_ASSERT(qb_digest_equal(of(bytes, SIZE), all));
    CU_ASSERT(!qb_digest_equal(of(bytes, SIZE - 1), all));
    for (size_t i = 0; i < UNIT_COUNT(places); i++) {
        bytes[places[i]] ^= 1;
        CU_ASSERT(!qb_digest_equal(of(bytes, SIZE), all));
        bytes[places[i]] ^= 1;
    }
    memset(bytes + SIZE - 8192, 0, 8192); /* a length that zeros alone make */
    CU_ASSERT(!qb_digest_equal(of(bytes, SIZE), of(bytes, SIZE - 4096)));
    memset(bytes, 0, SIZE); /* the same bytes, at another place */
    bytes[0] = 1;
    all = of(bytes, SIZE);
    bytes[0] = 0;
    bytes[4096] = 1;
    CU_ASSERT(!qb_digest_equal(of(bytes, SIZE), all));
    bytes[4096] = 0;
    bytes[1 << 20] = 1;
    CU_ASSERT(!qb_digest_equal(of(bytes, SIZE), all));
    free(bytes);
}

static void a_fault_that_passes_changes_nothing_and_one_that_stays_does(void)
{
    unsigned char *bytes = some_bytes();
    struct qb_digest all = of(bytes, SIZE), d;
    struct qb_err err = {0};
    struct subject s = subject_of(bytes, SIZE);

    qb_mem_fail(s.log, 0, EIO, false);
    CU_ASSERT(qb_digest_equal(ends(&s), all));
    s = subject_of(bytes, 9000);
    qb_mem_fail(s.log, 0, EIO, true);
    CU_ASSERT(!qb_digest_equal(ends(&s), of(bytes, 9000)));
    s = subject_of(bytes, 9000);
    qb_mem_fail(s.log, 0, EIO, true);
    CU_ASSERT_EQUAL(qb_as_found(s.io, &s.file, &d, &err), 0);
    CU_ASSERT(qb_digest_equal(ends(&s), d));
    s = subject_of(bytes, 9000);
    memset(bytes, 0, 9000);
    qb_mem_fail(s.log, 0, EIO, true);
    CU_ASSERT(!qb_digest_equal(ends(&s), of(bytes, 9000))); /* zeros can be read */
    free(bytes);
}

static void a_dead_disk_and_other_errors_end_it(void)
{
    static const int errors[] = {EIO, ENOMEM, ECANCELED};
    unsigned char *bytes = some_bytes();

    memset(bytes, 'b', SIZE);
    for (size_t i = 0; i < UNIT_COUNT(errors); i++) {
        struct subject s = subject_of(bytes, SIZE);
        struct qb_digest d;
        struct qb_err err = {0};

        qb_mem_fail(s.log, 0, errors[i], true);
        CU_ASSERT_EQUAL(qb_as_found(s.io, &s.file, &d, &err), -1);
        CU_ASSERT(qb_digest_is_empty(d) && err.code != QB_E_NONE);
        qb_mem_fail(s.log, 0, 0, false);
        ends(&s);
    }
    free(bytes);
}

static void holes_and_zeros_are_the_same(void)
{
    struct qb_err err = {0};
    struct qb_io *io = open_kind(QB_IO_POSIX);
    struct qb_digest d[2];

    for (int i = 0; i < 2; i++) {
        const char *path = in_folder(i ? "full" : "sparse");
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
        unsigned char *bytes = some_bytes();
        struct qb_file file;

        CU_ASSERT_FATAL(fd >= 0 && ftruncate(fd, SIZE) == 0);
        CU_ASSERT_EQUAL(pwrite(fd, bytes, i ? SIZE : 9000, 0), i ? SIZE : 9000);
        CU_ASSERT_EQUAL(pwrite(fd, bytes + SIZE - 5000, 5000, SIZE - 5000), 5000);
        close(fd);
        file = open_or_die(path, false);
        CU_ASSERT_EQUAL(qb_as_found(io, &file, &d[i], &err), 0);
        qb_file_close(&file);
        free(bytes);
    }
    CU_ASSERT(qb_digest_equal(d[0], d[1]));
    qb_io_close(io);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(every_byte_and_the_length_count),
        UNIT(a_fault_that_passes_changes_nothing_and_one_that_stays_does),
        UNIT(a_dead_disk_and_other_errors_end_it),
        UNIT(holes_and_zeros_are_the_same),
    };

    return scratch_main("as_found", tests, UNIT_COUNT(tests));
}
