/* Amends of real files, with every way to the disk, under a kernel that does half of a transfer, is
 * interrupted, or fails, at each of its calls: the first two change nothing, and after a failure
 * the file is the old image or the amended one, and the cause is told. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "judge.h"
#include "kernel.h"
#include "unit.h"

#ifdef __SANITIZE_ADDRESS__
enum { STEP = 307 };
#elif defined(__clang__) /* the same code: gcc's build tries all of it */
enum { STEP = 211 };
#else
enum { STEP = 97 };
#endif

static char path[64];
static unsigned long runs, states, violations;

static void make_file(const struct image_bytes *image)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

    if (fd < 0 || write(fd, image->bytes, image->size) != (ssize_t)image->size)
        abort();
    close(fd);
}

static struct image_bytes read_file(void)
{
    struct image_bytes image = {0};
    struct stat st;
    int fd = open(path, O_RDONLY);

    if (fd < 0 || fstat(fd, &st) < 0)
        abort();
    image.size = (uint64_t)st.st_size;
    image.bytes = malloc(image.size + 1);
    if (!image.bytes || read(fd, image.bytes, image.size) != (ssize_t)image.size)
        abort();
    close(fd);
    return image;
}

struct fault {
    uint64_t nth;
    int how;
    bool onwards;
};

static bool is_harmless(const struct fault *f)
{
    return f->how == KERNEL_SHORT || f->how == EINTR;
}

static void check(struct judge *j, const struct fault *f, const struct qb_result *r,
                  const struct image_bytes *now, const char *at)
{
    const struct qb_result *peace = &j->run.result;

    if (is_harmless(f) && (r->status != peace->status || r->err.code != peace->err.code))
        judge_blame(j, at, r->err.text ? r->err.text : "it ended in another way");
    if (r->status == QB_STATUS_CHANGED && kernel_failed_a_sync() && r->reclaim_errno != f->how)
        judge_blame(j, at, "a barrier failed, and it is called done");
    if (r->status == QB_STATUS_FAILED && peace->status == QB_STATUS_CHANGED &&
        !strstr(r->err.text, strerror(f->how)))
        judge_blame(j, at, r->err.text);
    if (r->status == QB_STATUS_CHANGED)
        judge_state(j, now, AMENDED, at);
    else if (j->amends)
        judge_state(j, now, EITHER, at);
    else if (now->size != j->s->image.size || memcmp(now->bytes, j->s->image.bytes, now->size))
        judge_blame(j, at, "a refused image was written to");
}

static struct qb_request public_request(const struct qb_request *rq)
{
    struct qb_request copy = *rq;

    copy.struct_size = sizeof(copy);
    return copy;
}

/* Amends the file while the kernel fails.  The memory of a user's earlier rings is given back a
 * moment after they are closed, and until then there may be too little for the next. */
static const struct qb_result *amend_with(const struct judge *j, enum qb_io_kind kind,
                                          const struct fault *f)
{
    static const struct timespec moment = {.tv_nsec = 1000 * 1000};
    const struct qb_options options = {.struct_size = sizeof(options), .io = kind};
    const struct qb_request rq = public_request(&j->s->rq);
    const struct qb_result *result;

    for (int tries = 0; tries < 10000; tries++) {
        make_file(&j->s->image);
        kernel_fails(f->nth, f->how, f->onwards);
        qb_amend_image(path, &rq, &options, &result);
        kernel_is_back();
        if (kind == QB_IO_POSIX || result->err.sys_errno != ENOMEM)
            break;
        qb_result_free(result);
        nanosleep(&moment, NULL);
    }
    return result;
}

static void fail_once(struct judge *j, enum qb_io_kind kind, struct fault f)
{
    struct image_bytes now;
    const struct qb_result *result;
    char at[80];

    runs++;
    snprintf(at, sizeof(at), "%s, call %llu: %d%s", kind == QB_IO_POSIX ? "posix" : "uring",
             (unsigned long long)f.nth, f.how, f.onwards ? " and on" : "");
    result = amend_with(j, kind, &f);
    now = read_file();
    check(j, &f, result, &now, at);
    qb_result_free(result);
    image_bytes_free(&now);
}

static uint64_t count_calls(const struct subject *s, enum qb_io_kind kind)
{
    const struct qb_options options = {.struct_size = sizeof(options), .io = kind};
    const struct qb_request rq = public_request(&s->rq);
    const struct qb_result *result;
    uint64_t calls;

    make_file(&s->image);
    kernel_fails(UINT64_MAX, EIO, false);
    qb_amend_image(path, &rq, &options, &result);
    calls = kernel_is_back();
    qb_result_free(result);
    return calls;
}

static void fail_everywhere(const struct subject *s, enum qb_io_kind kind)
{
    static const int ways[] = {KERNEL_SHORT, EINTR, EIO, ENOSPC, EDQUOT};
    uint64_t n = count_calls(s, kind);
    struct judge j;

    judge_begin(&j, s, NULL);
    for (uint64_t i = 0; i < n; i++)
        for (unsigned k = 0; k < UNIT_COUNT(ways); k++) {
            fail_once(&j, kind, (struct fault){i, ways[k], false});
            if (ways[k] != EINTR) /* no kernel interrupts for ever */
                fail_once(&j, kind, (struct fault){i, ways[k], true});
        }
    states += j.states;
    violations += j.violations;
    if (j.violations) {
        fprintf(stderr, "\n%s (%lu violations)", j.first, j.violations);
        CU_FAIL("an image that must not be");
    }
    judge_end(&j);
}

static void try_all(enum qb_io_kind kind)
{
    for (size_t i = 0; i < n_recipes; i++)
        for (size_t k = i % STEP; k < n_wishes; k += STEP) {
            struct subject s;

            if (recipes[i].heavy)
                continue;
            s = subject_of(&recipes[i], &wishes[k]);
            fail_everywhere(&s, kind);
            subject_free(&s);
        }
}

static void amend_by_plain_calls_survives_every_call_that_goes_wrong(void)
{
    try_all(QB_IO_POSIX);
}

static void amend_with_a_ring_survives_every_completion_that_goes_wrong(void)
{
    struct qb_io *io;
    struct qb_err err;

    if (qb_io_open(QB_IO_URING, &io, NULL, &err) < 0) {
        printf("\nskipped: amends with a ring: %s\n", err.text);
        return;
    }
    qb_io_close(io);
    try_all(QB_IO_URING);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(amend_by_plain_calls_survives_every_call_that_goes_wrong),
        UNIT(amend_with_a_ring_survives_every_completion_that_goes_wrong),
    };
    int fd, rc;

    /* In memory where that is to be had: nothing here depends on a disk. */
    snprintf(path, sizeof(path), "%s/qbatch-kernel-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    fd = mkstemp(path);
    if (fd < 0)
        return 2;
    close(fd);
    amends_begin();
    rc = unit_main("kernel_faults", tests, UNIT_COUNT(tests));
    amends_end();
    unlink(path);
    printf("faults of the kernel: %lu runs, %lu states, %lu violations\n", runs, states,
           violations);
    return rc;
}
