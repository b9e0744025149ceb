/* The library's call for one image, seen at its barriers: what the file holds at each, and what the
 * call says when one fails. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images.h"
#include "qbatch.h"
#include "scratch.h"

enum { BARRIERS = 4, SECTOR = 512 };

static const char *watched;           /* the image's path */
static unsigned n_barriers, fails_at; /* fails_at: which one fails, from 1; 0: none */
static uint8_t headers[BARRIERS][SECTOR];
static off_t lengths[BARRIERS];

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

/* The linker leads the library's calls here. */
int __wrap_fdatasync(int fd)
{
    int look = open(watched, O_RDONLY | O_CLOEXEC);

    if (n_barriers < BARRIERS) {
        CU_ASSERT_EQUAL(pread(look, headers[n_barriers], SECTOR, 0), SECTOR);
        lengths[n_barriers] = lseek(look, 0, SEEK_END);
    }
    close(look);
    if (++n_barriers != fails_at)
        return __real_fdatasync(fd);
    errno = EIO;
    return -1;
}

static const struct image_shape shape = {
    .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536};
static const struct qb_request down = {
    .struct_size = sizeof(down), .set = QB_KEY_COMPAT, .compat = 2, .verify = QB_VERIFY_METADATA};

static unsigned n_drops; /* of the page cache, after the header was written */

int __real_posix_fadvise64(int fd, off_t offset, off_t len, int advice);
int __wrap_posix_fadvise64(int fd, off_t offset, off_t len, int advice);

int __wrap_posix_fadvise64(int fd, off_t offset, off_t len, int advice)
{
    n_drops += advice == POSIX_FADV_DONTNEED && n_barriers == 2;
    return __real_posix_fadvise64(fd, offset, len, advice);
}

/* A downgrade of a new image; what the call said is in *code. */
static int amend_as(const struct qb_request *rq, struct image_bytes *image, unsigned fails,
                    enum qb_status *status, enum qb_code *code)
{
    const struct qb_options options = {.struct_size = sizeof(options), .io = QB_IO_POSIX};
    const struct qb_result *result;
    int rc;

    *image = image_make(&shape, "d9z9");
    watched = make_file("image", image->bytes, image->size);
    n_barriers = n_drops = 0;
    fails_at = fails;
    rc = qb_amend_image(watched, rq, &options, &result);
    *status = result->status;
    *code = result->err.code;
    qb_result_free(result);
    fails_at = 0;
    return rc;
}

static int amend(struct image_bytes *image, unsigned fails, enum qb_status *status,
                 enum qb_code *code)
{
    return amend_as(&down, image, fails, status, code);
}

static void content_is_compared_as_the_disk_has_it(void)
{
    struct qb_request rq = down;
    struct image_bytes image;
    enum qb_status status;
    enum qb_code code;

    rq.verify = QB_VERIFY_CONTENT;
    CU_ASSERT_EQUAL(amend_as(&rq, &image, 0, &status, &code), 0);
    CU_ASSERT(n_drops > 0);
    image_bytes_free(&image);
}

static void appended_then_barrier_then_header_then_barrier(void)
{
    struct image_bytes image;
    enum qb_status status;
    enum qb_code code;

    CU_ASSERT_EQUAL(amend(&image, 0, &status, &code), 0);
    CU_ASSERT_EQUAL(status, QB_STATUS_CHANGED);
    CU_ASSERT_EQUAL_FATAL(n_barriers, 2);
    CU_ASSERT_EQUAL(memcmp(headers[0], image.bytes, SECTOR), 0);
    CU_ASSERT(lengths[0] > (off_t)image.size);
    CU_ASSERT_EQUAL(headers[1][7], 2); /* the version */
    image_bytes_free(&image);
}

static void a_first_barrier_that_fails_leaves_the_old_image(void)
{
    struct image_bytes image;
    enum qb_status status;
    enum qb_code code;
    uint8_t now[16384];
    int fd;

    CU_ASSERT_EQUAL(amend(&image, 1, &status, &code), -1);
    CU_ASSERT_EQUAL(status, QB_STATUS_FAILED);
    CU_ASSERT_EQUAL(code, QB_E_IO);
    CU_ASSERT_EQUAL(n_barriers, 1);
    fd = open(watched, O_RDONLY | O_CLOEXEC);
    CU_ASSERT_EQUAL(read(fd, now, sizeof(now)), (ssize_t)image.size);
    CU_ASSERT_EQUAL(memcmp(now, image.bytes, image.size), 0);
    close(fd);
    image_bytes_free(&image);
}

/* A run that was killed may have written it just now. */
static void what_is_as_asked_is_synced_unless_it_was_written_long_ago(void)
{
    static const struct {
        bool long_ago;
        unsigned fails, n_barriers;
        enum qb_status status;
        enum qb_code code;
    } rows[] = {{false, 0, 1, QB_STATUS_UNCHANGED, QB_E_NONE},
                {false, 1, 1, QB_STATUS_FAILED, QB_E_DURABILITY},
                {true, 0, 0, QB_STATUS_UNCHANGED, QB_E_NONE}};
    const struct timespec then[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    const struct qb_options options = {.struct_size = sizeof(options), .io = QB_IO_POSIX};
    struct image_bytes image;
    enum qb_status status;
    enum qb_code code;

    CU_ASSERT_EQUAL(amend(&image, 0, &status, &code), 0);
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        const struct qb_result *result;

        n_barriers = 0;
        fails_at = rows[i].fails;
        if (rows[i].long_ago)
            CU_ASSERT_EQUAL(utimensat(AT_FDCWD, watched, then, 0), 0);
        CU_ASSERT_EQUAL(qb_amend_image(watched, &down, &options, &result),
                        rows[i].status == QB_STATUS_FAILED ? -1 : 0);
        CU_ASSERT_EQUAL(result->status, rows[i].status);
        CU_ASSERT_EQUAL(result->err.code, rows[i].code);
        CU_ASSERT_EQUAL(n_barriers, rows[i].n_barriers);
        qb_result_free(result);
    }
    fails_at = 0;
    image_bytes_free(&image);
}

static void a_second_barrier_that_fails_is_no_success(void)
{
    struct image_bytes image;
    enum qb_status status;
    enum qb_code code;

    CU_ASSERT_EQUAL(amend(&image, 2, &status, &code), -1);
    CU_ASSERT_EQUAL(status, QB_STATUS_FAILED);
    CU_ASSERT_EQUAL(code, QB_E_DURABILITY);
    image_bytes_free(&image);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(appended_then_barrier_then_header_then_barrier),
        UNIT(a_first_barrier_that_fails_leaves_the_old_image),
        UNIT(what_is_as_asked_is_synced_unless_it_was_written_long_ago),
        UNIT(a_second_barrier_that_fails_is_no_success),
        UNIT(content_is_compared_as_the_disk_has_it),
    };

    return scratch_main("single", tests, UNIT_COUNT(tests));
}
