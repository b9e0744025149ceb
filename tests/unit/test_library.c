/* The public header's functions, as a program calls them. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "images.h"
#include "qbatch.h"
#include "unit.h"

enum { MIB = 1 << 20 };

static char path[] = "/tmp/qbatch-library-XXXXXX";
static struct image_bytes image;

static void make_of(const struct image_shape *shape, const char *recipe)
{
    int fd = open(path, O_WRONLY | O_TRUNC);

    image_bytes_free(&image);
    image = image_make(shape, recipe);
    if (fd < 0 || write(fd, image.bytes, image.size) != (ssize_t)image.size)
        abort();
    close(fd);
}

/* A valid image of a size that an amend to version 2 has to append something to. */
static void make(void)
{
    const struct image_shape shape = {
        .version = 3, .cluster_bits = 12, .refcount_order = 4, .size = 4 * MIB};

    make_of(&shape, "d4 z4");
}

static bool is_untouched(void)
{
    int fd = open(path, O_RDONLY);
    off_t size = lseek(fd, 0, SEEK_END);
    char *bytes = malloc((size_t)size + 1);
    bool same;

    if (!bytes || size < 0 || pread(fd, bytes, (size_t)size, 0) != size)
        abort();
    same = (uint64_t)size == image.size && memcmp(bytes, image.bytes, image.size) == 0;
    free(bytes);
    close(fd);
    return same;
}

static const struct qb_request other_width = {.struct_size = sizeof(other_width),
                                              .set = QB_KEY_REFCOUNT_BITS,
                                              .refcount_bits = 64,
                                              .verify = QB_VERIFY_METADATA};

static void result_is_the_callers_and_names_what_changed(void)
{
    const struct qb_request rq = {.struct_size = sizeof(rq),
                                  .set = QB_KEY_BACKING_FILE | QB_KEY_BACKING_FMT,
                                  .backing_file = "base.raw",
                                  .backing_fmt = "raw"};
    const struct qb_result *result;

    make();
    CU_ASSERT_EQUAL(qb_amend_image(path, &rq, NULL, &result), 0);
    CU_ASSERT_EQUAL(result->status, QB_STATUS_CHANGED);
    CU_ASSERT_EQUAL(result->err.code, QB_E_NONE);
    CU_ASSERT_EQUAL(result->before->virtual_size, 4 * MIB);
    CU_ASSERT(!result->before->has_backing_file);
    CU_ASSERT_STRING_EQUAL(result->after->backing_file, "base.raw");
    CU_ASSERT_STRING_EQUAL(result->after->backing_fmt, "raw");
    qb_result_free(result);
    CU_ASSERT_EQUAL(qb_amend_image(path, &rq, NULL, &result), 0);
    CU_ASSERT_EQUAL(result->status, QB_STATUS_UNCHANGED);
    CU_ASSERT_STRING_EQUAL(result->before->backing_file, "base.raw");
    qb_result_free(result);
}

static void an_image_that_cannot_be_opened_has_a_failure_and_no_facts(void)
{
    const struct qb_result *result;
    const struct qb_check_result *check;

    CU_ASSERT_EQUAL(qb_amend_image("/nowhere/a.qcow2", &other_width, NULL, &result), -1);
    CU_ASSERT_EQUAL(result->err.code, QB_E_NOT_FOUND);
    CU_ASSERT(result->err.text && result->err.text[0]);
    CU_ASSERT_PTR_NULL(result->before);
    CU_ASSERT_PTR_NULL(result->after);
    qb_result_free(result);
    CU_ASSERT_EQUAL(qb_check_image("/nowhere/a.qcow2", NULL, &check), -1);
    CU_ASSERT_EQUAL(check->err.code, QB_E_NOT_FOUND);
    CU_ASSERT_PTR_NULL(check->info);
    qb_check_result_free(check);
    qb_result_free(NULL);
    qb_check_result_free(NULL);
}

/* ---- structs that grow ----------------------------------------------------------------------- */

struct later_request {
    struct qb_request now;
    uint64_t key_of_a_later_version;
};

static enum qb_code code_of(const struct qb_request *rq, const struct qb_options *options)
{
    const struct qb_result *result;
    enum qb_code code;

    qb_amend_image(path, rq, options, &result);
    code = result->err.code;
    qb_result_free(result);
    return code;
}

static uint64_t corruptions_found(void)
{
    const struct qb_check_result *check;
    uint64_t found;

    CU_ASSERT_EQUAL(qb_check_image(path, NULL, &check), 0);
    found = check->corruptions;
    qb_check_result_free(check);
    return found;
}

/* Version 2 does without, and a table that is written again has them. */
static void a_snapshot_without_a_disk_size_is_damage_in_version_3(void)
{
    static const uint32_t extra[] = {IMAGE_NO_EXTRA, 8, 16};
    const struct qb_request rq = {.struct_size = sizeof(rq), .set = QB_KEY_SIZE, .size = 5 * MIB};

    for (uint32_t i = 0; i < 6; i++) {
        const struct image_shape shape = {.version = 2 + i % 2,
                                          .cluster_bits = 12,
                                          .refcount_order = 4,
                                          .size = 4 * MIB,
                                          .snapshot_extra = extra[i / 2]};

        make_of(&shape, "d4 S d2 S");
        CU_ASSERT_EQUAL(corruptions_found(),
                        shape.version == 3 && shape.snapshot_extra != 16 ? 2 : 0);
        CU_ASSERT(shape.version == 2 || code_of(&rq, NULL) == QB_E_NONE);
        CU_ASSERT_EQUAL(corruptions_found(), 0);
    }
}

static void a_struct_without_its_size_is_refused(void)
{
    struct qb_request rq = other_width;
    struct qb_options options = {.dry_run = true};
    const struct qb_check_result *check;

    make();
    rq.struct_size = 0;
    CU_ASSERT_EQUAL(code_of(&rq, NULL), QB_E_REFUSED);
    CU_ASSERT_EQUAL(code_of(&other_width, &options), QB_E_REFUSED);
    CU_ASSERT_EQUAL(qb_check_image(path, &options, &check), -1);
    CU_ASSERT_EQUAL(check->err.code, QB_E_REFUSED);
    qb_check_result_free(check);
    CU_ASSERT(is_untouched());
}

static void a_request_of_a_later_version_is_served_unless_it_asks_for_more(void)
{
    struct later_request later = {.now = other_width};

    make();
    later.now.struct_size = sizeof(later);
    later.key_of_a_later_version = 1;
    CU_ASSERT_EQUAL(code_of(&later.now, NULL), QB_E_UNSUPPORTED);
    CU_ASSERT(is_untouched());
    later.key_of_a_later_version = 0;
    CU_ASSERT_EQUAL(code_of(&later.now, NULL), QB_E_NONE);
    CU_ASSERT(!is_untouched());
}

/* Whatever lies behind its end is not looked at. */
static void a_request_of_an_earlier_version_has_the_defaults(void)
{
    struct qb_request rq = other_width;

    make();
    rq.struct_size = offsetof(struct qb_request, fail_if_dirty);
    memset((char *)&rq + rq.struct_size, 0xff, sizeof(rq) - rq.struct_size);
    CU_ASSERT_EQUAL(code_of(&rq, NULL), QB_E_NONE);
    CU_ASSERT(!is_untouched());
}

/* ---- stopping -------------------------------------------------------------------------------- */

static struct qb_stop *stop;

static void *request_stop(void *unused)
{
    qb_stop_request(stop);
    return unused;
}

static void from_a_thread(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, request_stop, NULL) != 0)
        abort();
    pthread_join(thread, NULL);
}

static void on_signal(int number)
{
    (void)number;
    qb_stop_request(stop);
}

static void from_a_signal_handler(void)
{
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_DFL);
}

/* The calls of the system that this test looks at; see CMakeLists.txt. */
static uint64_t calls, stop_at;
static void (*stops)(void);
static bool header_written, written_at_stop;

static void count_call(void)
{
    if (calls++ == stop_at && stops) {
        written_at_stop = header_written;
        stops();
    }
}

ssize_t __real_pread64(int fd, void *buf, size_t n, off_t offset);
ssize_t __real_pwrite64(int fd, const void *buf, size_t n, off_t offset);
int __real_fdatasync(int fd);
ssize_t __wrap_pread64(int fd, void *buf, size_t n, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t n, off_t offset);
int __wrap_fdatasync(int fd);

ssize_t __wrap_pread64(int fd, void *buf, size_t n, off_t offset)
{
    count_call();
    return __real_pread64(fd, buf, n, offset);
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t n, off_t offset)
{
    header_written |= offset == 0;
    count_call();
    return __real_pwrite64(fd, buf, n, offset);
}

int __wrap_fdatasync(int fd)
{
    count_call();
    return __real_fdatasync(fd);
}

/* Stops the amend during its n-th call; whether it came so far.  *ignored counts the stops that
 * came before the header was written and did not keep it from that. */
static bool stop_during(uint64_t n, void (*how)(void), uint64_t *ignored)
{
    const struct qb_options options = {
        .struct_size = sizeof(options), .io = QB_IO_POSIX, .stop = qb_stop_new()};
    const struct qb_result *result;
    bool reached;
    int r;

    make();
    calls = 0;
    stop_at = n;
    header_written = written_at_stop = false;
    stop = options.stop;
    stops = how;
    r = qb_amend_image(path, &other_width, &options, &result);
    stops = NULL;
    reached = calls > n;
    *ignored += reached && !written_at_stop && r == 0;
    if (r < 0) {
        CU_ASSERT(reached && !header_written);
        CU_ASSERT_EQUAL(result->status, QB_STATUS_INTERRUPTED);
        CU_ASSERT_EQUAL(result->err.code, QB_E_CANCELLED);
        CU_ASSERT(is_untouched());
    } else {
        CU_ASSERT(header_written);
        CU_ASSERT_EQUAL(result->status, QB_STATUS_CHANGED);
        CU_ASSERT(result->verified);
    }
    qb_result_free(result);
    qb_stop_free(stop);
    return reached;
}

static void amend_stops_wherever_it_is_until_its_header_is_written(void)
{
    uint64_t n = 0, stopped = 0, ignored = 0;

    for (; stop_during(n, n % 2 ? from_a_thread : from_a_signal_handler, &ignored); n++)
        stopped += !header_written;
    CU_ASSERT(ignored <= 2); /* the last look at the header, and the call that writes it */
    CU_ASSERT(n > 5);
    CU_ASSERT(stopped > 3);
}

static void what_was_stopped_before_does_not_begin(void)
{
    const struct qb_options options = {.struct_size = sizeof(options), .stop = qb_stop_new()};
    const struct qb_check_result *check;

    make();
    qb_stop_request(options.stop);
    CU_ASSERT_EQUAL(code_of(&other_width, &options), QB_E_CANCELLED);
    CU_ASSERT(is_untouched());
    CU_ASSERT_EQUAL(qb_check_image(path, &options, &check), -1);
    CU_ASSERT_EQUAL(check->err.code, QB_E_CANCELLED);
    qb_check_result_free(check);
    qb_stop_free(options.stop);
    qb_stop_free(NULL);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(result_is_the_callers_and_names_what_changed),
        UNIT(an_image_that_cannot_be_opened_has_a_failure_and_no_facts),
        UNIT(a_snapshot_without_a_disk_size_is_damage_in_version_3),
        UNIT(a_struct_without_its_size_is_refused),
        UNIT(a_request_of_a_later_version_is_served_unless_it_asks_for_more),
        UNIT(a_request_of_an_earlier_version_has_the_defaults),
        UNIT(amend_stops_wherever_it_is_until_its_header_is_written),
        UNIT(what_was_stopped_before_does_not_begin),
    };
    int rc, fd = mkstemp(path);

    if (fd < 0)
        return 2;
    close(fd);
    rc = unit_main("library", tests, UNIT_COUNT(tests));
    unlink(path);
    image_bytes_free(&image);
    return rc;
}
