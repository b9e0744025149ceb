/* The library's call for one image, seen at its barriers: what the file holds at each, and what the
 * call says when one fails. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
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

/* A downgrade of a new image; what the call said is in *code. */
static int amend(struct image_bytes *image, unsigned fails, enum qb_status *status,
                 enum qb_code *code)
{
    const struct qb_options options = {.struct_size = sizeof(options), .io = QB_IO_POSIX};
    const struct qb_result *result;
    int rc;

    *image = image_make(&shape, "d9z9");
    watched = make_file("image", image->bytes, image->size);
    n_barriers = 0;
    fails_at = fails;
    rc = qb_amend_image(watched, &down, &options, &result);
    *status = result->status;
    *code = result->err.code;
    qb_result_free(result);
    fails_at = 0;
    return rc;
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
        UNIT(a_second_barrier_that_fails_is_no_success),
    };

    return scratch_main("single", tests, UNIT_COUNT(tests));
}
