/* The external data file of an image that is resized: what is written there and when, and what
 * happens when somebody else changes it in between. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "amend/amend.h"
#include "images.h"
#include "poke.h"
#include "scratch.h"

enum { KIB = 1024, DISK = 64 * KIB, LARGER = 128 * KIB, SMALLER = 32 * KIB, DATA = 100 * KIB };

/* An image without data of its own, whose data file has old bytes past the disk's end. */
struct subject {
    struct qb_io *io;
    struct qb_amend *amend;
    struct qb_request rq;
    char image[200], data[200];
};

static bool zeroing_fails;

int __real_fallocate64(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len);

/* The linker leads the engine's calls here. */
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len)
{
    if (zeroing_fails && (mode & FALLOC_FL_ZERO_RANGE)) {
        errno = EIO;
        return -1;
    }
    return __real_fallocate64(fd, mode, offset, len);
}

/* The old bytes past the disk's end have a hole of 16 KiB between them. */
static void punch(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    CU_ASSERT_EQUAL(
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, DISK + 4 * KIB, 16 * KIB), 0);
    close(fd);
}

/* Up to the plan. */
static void begin_with(struct subject *s, uint64_t size, size_t data_bytes, bool mapped)
{
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = DISK};
    static uint8_t bytes[DATA];
    struct image_bytes image = image_make(&shape, mapped ? "@2d4" : "");

    image.bytes[79] |= 4; /* the incompatible bit, and the extension that names the file */
    poke_be(image.bytes + 112, 0x44415441, 4);
    poke_be(image.bytes + 116, 8, 4);
    memcpy(image.bytes + 120, "data.raw", 8);
    for (uint64_t i = 2; mapped && i < 6; i++) /* each cluster is where the guest has it */
        poke_image(image.bytes, &(struct poke){IN_TABLE, 8 * (unsigned)i, 8, 1ull << 63 | i * 512});
    snprintf(s->image, sizeof(s->image), "%s", make_file("image", image.bytes, image.size));
    image_bytes_free(&image);
    memset(bytes, 'x', sizeof(bytes));
    snprintf(s->data, sizeof(s->data), "%s", make_file("data.raw", bytes, data_bytes));
    punch(s->data);
    s->rq = (struct qb_request){
        .set = QB_KEY_SIZE, .size = size, .allow_shrink = true, .verify = QB_VERIFY_METADATA};
    s->io = open_kind(QB_IO_POSIX);
    s->amend = qb_amend_new(s->image);
    CU_ASSERT_EQUAL_FATAL(qb_amend_open(s->amend, s->io, (struct qb_claim){.writable = true}, NULL),
                          0);
    CU_ASSERT_EQUAL_FATAL(qb_amend_plan(s->amend, s->io, &s->rq), 0);
}

static void begin(struct subject *s, uint64_t size)
{
    begin_with(s, size, DATA, false);
    CU_ASSERT_EQUAL_FATAL(qb_amend_append(s->amend, s->io), 0);
}

static void end(struct subject *s)
{
    qb_amend_close(s->amend);
    qb_io_close(s->io);
}

static off_t length_of(const char *path)
{
    struct stat st;

    CU_ASSERT_EQUAL(stat(path, &st), 0);
    return st.st_size;
}

static void put(const char *path, off_t at, char byte)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void what_comes_into_use_is_zeroed_before_the_flip_and_nothing_else(void)
{
    static char bytes[LARGER];
    struct qb_file *files[QB_AMEND_FILES];
    struct subject s;
    int fd;

    begin(&s, LARGER);
    CU_ASSERT_EQUAL(length_of(s.data), LARGER);
    fd = open(s.data, O_RDONLY | O_CLOEXEC);
    CU_ASSERT_EQUAL(pread(fd, bytes, LARGER, 0), LARGER);
    close(fd);
    CU_ASSERT(bytes[0] == 'x' && memcmp(bytes, bytes + 1, DISK - 1) == 0);
    CU_ASSERT(bytes[DISK] == 0 && memcmp(bytes + DISK, bytes + DISK + 1, DISK - 1) == 0);
    CU_ASSERT_EQUAL_FATAL(qb_amend_dirty_files(s.amend, files), 2);
    CU_ASSERT_EQUAL(qb_guard_check(files[1], QB_OP_WRITE, DISK, DISK), 0);
    CU_ASSERT_NOT_EQUAL(qb_guard_check(files[1], QB_OP_WRITE, DISK - 512, 512), 0);
    CU_ASSERT_NOT_EQUAL(qb_guard_check(files[1], QB_OP_WRITE, LARGER, 512), 0);
    CU_ASSERT_NOT_EQUAL(qb_guard_check(files[1], QB_OP_SET_SIZE, DATA - 1, 0), 0);
    CU_ASSERT_EQUAL(qb_amend_flip(s.amend, s.io) + qb_amend_flipped(s.amend, 0), 0);
    CU_ASSERT_EQUAL(qb_amend_dirty_files(s.amend, files), 1);
    CU_ASSERT_EQUAL(qb_amend_verify(s.amend, s.io), 0);
    end(&s);
}

static void a_data_file_that_changed_keeps_the_header_as_it_was(void)
{
    for (int other = 0; other <= 1; other++) {
        struct subject s;

        begin(&s, LARGER);
        CU_ASSERT_EQUAL(
            other ? rename(make_file("other", "x", 1), s.data) : truncate(s.data, 2 * LARGER), 0);
        CU_ASSERT_EQUAL(qb_amend_flip(s.amend, s.io), -1);
        CU_ASSERT_EQUAL(qb_amend_result(s.amend)->err.code, QB_E_CHANGED);
        CU_ASSERT_FALSE(qb_amend_has_flipped(s.amend));
        end(&s);
    }
}

static void what_was_to_be_zero_is_verified(void)
{
    struct subject s;

    begin(&s, LARGER);
    CU_ASSERT_EQUAL(qb_amend_flip(s.amend, s.io) + qb_amend_flipped(s.amend, 0), 0);
    put(s.data, LARGER - 1, 'y');
    CU_ASSERT_EQUAL(qb_amend_verify(s.amend, s.io), -1);
    CU_ASSERT_EQUAL(qb_amend_result(s.amend)->err.code, QB_E_VERIFY);
    end(&s);
}

static void an_append_that_is_lost_leaves_the_old_length(void)
{
    struct subject s;

    begin(&s, LARGER);
    qb_amend_append_lost(s.amend, s.io, 5);
    CU_ASSERT_EQUAL(length_of(s.data), DATA);
    end(&s);
}

static void it_is_cut_after_verification_unless_somebody_has_it_longer(void)
{
    for (int longer = 0; longer <= 1; longer++) {
        struct subject s;

        begin(&s, SMALLER);
        CU_ASSERT_EQUAL(length_of(s.data), DATA);
        CU_ASSERT_EQUAL(qb_amend_flip(s.amend, s.io) + qb_amend_flipped(s.amend, 0), 0);
        CU_ASSERT_EQUAL(qb_amend_verify(s.amend, s.io), 0);
        CU_ASSERT_EQUAL(length_of(s.data), DATA);
        if (longer)
            CU_ASSERT_EQUAL(truncate(s.data, 2 * DATA), 0);
        qb_amend_settle(s.amend, s.io);
        CU_ASSERT_EQUAL(length_of(s.data), longer ? 2 * DATA : SMALLER);
        end(&s);
    }
}

static void an_append_that_fails_leaves_the_old_length(void)
{
    struct subject s;

    begin_with(&s, LARGER, DATA, false);
    zeroing_fails = true;
    CU_ASSERT_EQUAL(qb_amend_append(s.amend, s.io), -1);
    zeroing_fails = false;
    CU_ASSERT_EQUAL(qb_amend_result(s.amend)->err.sys_errno, EIO);
    CU_ASSERT_EQUAL(length_of(s.data), DATA);
    end(&s);
}

static void one_that_is_shorter_than_the_disk_is_not_made_longer_by_a_shrink(void)
{
    enum { SHORT = 20 * KIB };
    struct subject s;

    begin_with(&s, SMALLER, SHORT, false);
    CU_ASSERT_EQUAL(qb_amend_append(s.amend, s.io), 0);
    CU_ASSERT_EQUAL(qb_amend_flip(s.amend, s.io) + qb_amend_flipped(s.amend, 0), 0);
    CU_ASSERT_EQUAL(qb_amend_verify(s.amend, s.io), 0);
    qb_amend_settle(s.amend, s.io);
    CU_ASSERT_EQUAL(length_of(s.data), SHORT);
    end(&s);
}

/* In the image, clusters of these numbers are its own tables. */
static void clusters_of_the_data_file_are_not_counted_in_the_image(void)
{
    struct subject s;

    begin_with(&s, KIB, DATA, true);
    CU_ASSERT_EQUAL_FATAL(qb_amend_append(s.amend, s.io), 0);
    CU_ASSERT_EQUAL(qb_amend_flip(s.amend, s.io) + qb_amend_flipped(s.amend, 0), 0);
    CU_ASSERT_EQUAL(qb_amend_verify(s.amend, s.io), 0);
    qb_amend_settle(s.amend, s.io);
    CU_ASSERT_EQUAL(length_of(s.data), KIB);
    end(&s);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(what_comes_into_use_is_zeroed_before_the_flip_and_nothing_else),
        UNIT(a_data_file_that_changed_keeps_the_header_as_it_was),
        UNIT(what_was_to_be_zero_is_verified),
        UNIT(an_append_that_is_lost_leaves_the_old_length),
        UNIT(an_append_that_fails_leaves_the_old_length),
        UNIT(one_that_is_shorter_than_the_disk_is_not_made_longer_by_a_shrink),
        UNIT(clusters_of_the_data_file_are_not_counted_in_the_image),
        UNIT(it_is_cut_after_verification_unless_somebody_has_it_longer),
    };

    return scratch_main("data_file", tests, UNIT_COUNT(tests));
}
