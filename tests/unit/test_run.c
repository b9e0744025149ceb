/* Runs of whole batches on small real files: the order of waves and of what is told, policies,
 * interruption.  What an amend does inside an image is not the subject here. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/be.h"
#include "run/run.h"
#include "scratch.h"

enum { CLUSTER = 65536, IMAGES_MAX = 16 };

/* ---- images ---------------------------------------------------------------------------------- */

static void put32(uint8_t *at, uint32_t n)
{
    be32 v = be32_of(n);

    memcpy(at, &v, sizeof(v));
}

static void put64(uint8_t *at, uint64_t n)
{
    be64 v = be64_of(n);

    memcpy(at, &v, sizeof(v));
}

/* An empty version 3 image of 64 MiB: header, refcount table, refcount block, L1. */
static void make_image(const char *name, const char *backing)
{
    static uint8_t bytes[4 * CLUSTER];
    int fd = open(in_folder(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    memset(bytes, 0, sizeof(bytes));
    put32(bytes, 0x514649fb);
    put32(bytes + 4, 3);
    put32(bytes + 20, 16);
    put64(bytes + 24, 64 << 20);
    put32(bytes + 36, 1);
    put64(bytes + 40, 3 * CLUSTER);
    put64(bytes + 48, CLUSTER);
    put32(bytes + 56, 1);
    put32(bytes + 96, 4);
    put32(bytes + 100, 104);
    if (backing) {
        put64(bytes + 8, 512);
        put32(bytes + 16, (uint32_t)strlen(backing));
        memcpy(bytes + 512, backing, strlen(backing));
    }
    put64(bytes + CLUSTER, 2 * CLUSTER);
    for (size_t i = 0; i < 4; i++)
        bytes[2 * CLUSTER + 2 * i + 1] = 1;
    CU_ASSERT_EQUAL_FATAL(write(fd, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
    close(fd);
}

static unsigned version_of(const char *name)
{
    uint8_t head[8] = {0};
    int fd = open(in_folder(name), O_RDONLY);

    CU_ASSERT_EQUAL(read(fd, head, sizeof(head)), (ssize_t)sizeof(head));
    close(fd);
    return head[7];
}

/* ---- batches --------------------------------------------------------------------------------- */

struct told {
    size_t n;
    size_t jobs[IMAGES_MAX];
    enum qb_status status[IMAGES_MAX];
    enum qb_code code[IMAGES_MAX];
};

static void listen(void *arg, size_t job, const struct qb_outcome *outcome)
{
    struct told *told = arg;

    CU_ASSERT_EQUAL(job, told->n); /* each once, in order */
    told->jobs[told->n] = job;
    told->status[told->n] = outcome->result.status;
    told->code[told->n++] = outcome->result.err.code;
}

static void add(struct qb_batch *batch, const char *name, unsigned compat)
{
    struct qb_request rq;

    qb_request_init(&rq);
    rq.set = QB_KEY_COMPAT;
    rq.compat = compat;
    CU_ASSERT_FATAL(qb_batch_add(batch, in_folder(name), 0, &rq));
}

static struct told run_with(struct qb_batch *batch, struct qb_run_options options)
{
    struct told told = {0};
    struct qb_meter meter = {0};
    struct qb_listener listener = {.arg = &told, .image = listen, .meter = &meter};
    struct qb_err err;

    options.io = QB_IO_POSIX;
    CU_ASSERT_EQUAL_FATAL(qb_run(batch, &options, &listener, &err), 0);
    CU_ASSERT_EQUAL(told.n, batch->n_jobs);
    CU_ASSERT_EQUAL(atomic_load(&meter.done), batch->n_jobs);
    CU_ASSERT_EQUAL(atomic_load(&meter.known) + atomic_load(&meter.passed), batch->n_jobs);
    CU_ASSERT_EQUAL(atomic_load(&meter.worked), atomic_load(&meter.work));
    CU_ASSERT(qb_meter_share(&meter, batch->n_jobs) == 1);
    return told;
}

static struct told run(struct qb_batch *batch)
{
    return run_with(batch, (struct qb_run_options){.jobs = 3});
}

static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
enum { N = 6 };

static void make_fleet(struct qb_batch *batch)
{
    qb_batch_init(batch);
    for (size_t i = 0; i < N; i++) {
        make_image(names[i], NULL);
        add(batch, names[i], 2);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void run_amends_every_image_and_the_second_run_finds_nothing_to_do(void)
{
    struct qb_batch batch;
    struct told told;

    make_fleet(&batch);
    told = run(&batch);
    for (size_t i = 0; i < N; i++) {
        CU_ASSERT_EQUAL(told.status[i], QB_STATUS_CHANGED);
        CU_ASSERT_EQUAL(version_of(names[i]), 2);
    }
    told = run(&batch);
    for (size_t i = 0; i < N; i++)
        CU_ASSERT_EQUAL(told.status[i], QB_STATUS_UNCHANGED);
    qb_batch_free(&batch);
}

static void dry_run_writes_nothing(void)
{
    struct qb_batch batch;
    struct told told;

    int fds[N];

    make_fleet(&batch);
    for (size_t i = 0; i < N; i++) {
        fds[i] = open(in_folder(names[i]), O_RDONLY | O_CLOEXEC);
        CU_ASSERT_EQUAL(fcntl(fds[i], F_SETSIG, SIGURG) + fcntl(fds[i], F_SETLEASE, F_RDLCK), 0);
    }
    told = run_with(&batch, (struct qb_run_options){.jobs = 2, .dry_run = true, .describe = true});
    for (size_t i = 0; i < N; i++) {
        CU_ASSERT_EQUAL(told.status[i], QB_STATUS_WOULD_CHANGE);
        CU_ASSERT_EQUAL(version_of(names[i]), 3);
        CU_ASSERT_EQUAL(fcntl(fds[i], F_GETLEASE), F_RDLCK); /* nobody opened it for writing */
        close(fds[i]);
    }
    qb_batch_free(&batch);
}

static void an_image_waits_for_its_backing_file_and_is_told_of_in_its_place(void)
{
    struct qb_batch batch;
    struct told told;

    make_image("base", NULL);
    make_image("mid", "base");
    make_image("top", "mid");
    make_image("top2", in_folder("base"));
    qb_batch_init(&batch);
    add(&batch, "top", 2);
    add(&batch, "top2", 2);
    add(&batch, "mid", 2);
    add(&batch, "base", 2);
    told = run(&batch);
    for (size_t i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(told.status[i], QB_STATUS_CHANGED);
    qb_batch_free(&batch);
}

static void images_in_a_circle_fail_and_the_others_go_on(void)
{
    struct qb_batch batch;
    struct told told;

    make_image("x", "y");
    make_image("y", "x");
    make_image("on-x", "x");
    make_image("self", "self");
    make_image("good", NULL);
    qb_batch_init(&batch);
    add(&batch, "on-x", 2);
    add(&batch, "x", 2);
    add(&batch, "y", 2);
    add(&batch, "self", 2);
    add(&batch, "good", 2);
    told = run(&batch);
    for (size_t i = 1; i < 4; i++) {
        CU_ASSERT_EQUAL(told.status[i], QB_STATUS_FAILED);
        CU_ASSERT_EQUAL(told.code[i], QB_E_BACKING_LOOP);
    }
    CU_ASSERT_EQUAL(told.status[4], QB_STATUS_CHANGED);
    CU_ASSERT_EQUAL(version_of("x"), 3);
    qb_batch_free(&batch);
}

static void a_request_may_end_a_circle_but_not_make_one(void)
{
    struct qb_batch batch;
    struct told told;

    make_image("x", "y");
    make_image("y", "x");
    make_image("base", NULL);
    make_image("top", "base");
    make_image("self", "self");
    qb_batch_init(&batch);
    add(&batch, "x", 3);
    add(&batch, "y", 2);
    add(&batch, "base", 3);
    batch.jobs[0].request.set |= QB_KEY_BACKING_FILE; /* x: none */
    batch.jobs[2].request.set |= QB_KEY_BACKING_FILE;
    batch.jobs[2].request.backing_file = "top";
    add(&batch, "self", 3);
    batch.jobs[3].request.set |= QB_KEY_BACKING_FILE;
    told = run(&batch);
    CU_ASSERT_EQUAL(told.status[0], QB_STATUS_CHANGED);
    CU_ASSERT_EQUAL(told.status[1], QB_STATUS_CHANGED);
    CU_ASSERT_EQUAL(told.code[2], QB_E_BACKING_LOOP);
    CU_ASSERT_EQUAL(told.status[3], QB_STATUS_CHANGED);
    qb_batch_free(&batch);
}

static void limits_of_memory_and_of_a_filesystem_only_slow_down(void)
{
    struct qb_batch batch;
    struct told told;

    make_fleet(&batch);
    batch.limits.memory_bytes = 40 << 10;
    batch.limits.jobs_per_filesystem = 1;
    told = run(&batch);
    for (size_t i = 0; i < N; i++)
        CU_ASSERT_EQUAL(told.status[i], QB_STATUS_CHANGED);
    qb_batch_free(&batch);
}

static void after_a_failure_stop_starts_nothing_more(void)
{
    struct qb_batch batch;
    struct told told;

    make_fleet(&batch);
    unlink(in_folder("b"));
    batch.policy.on_error = QB_ON_ERROR_STOP;
    batch.limits.memory_bytes = 40 << 10; /* waves of one or a few */
    told = run_with(&batch, (struct qb_run_options){.jobs = 1});
    CU_ASSERT_EQUAL(told.code[1], QB_E_NOT_FOUND);
    for (size_t i = 0; i < N; i++)
        if (told.status[i] == QB_STATUS_SKIPPED) {
            CU_ASSERT_EQUAL(told.code[i], QB_E_CANCELLED);
            CU_ASSERT_EQUAL(version_of(names[i]), 3);
        }
    CU_ASSERT_EQUAL(told.status[N - 1], QB_STATUS_SKIPPED);
    qb_batch_free(&batch);
}

static void timeout_fails_an_image_before_its_flip(void)
{
    struct qb_batch batch;
    struct told told;

    make_fleet(&batch);
    batch.limits.timeout_seconds = 1e-9;
    told = run(&batch);
    for (size_t i = 0; i < N; i++) {
        CU_ASSERT_EQUAL(told.status[i], QB_STATUS_FAILED);
        CU_ASSERT_EQUAL(told.code[i], QB_E_TIMEOUT);
        CU_ASSERT_EQUAL(version_of(names[i]), 3);
    }
    qb_batch_free(&batch);
}

/* ---- locks ----------------------------------------------------------------------------------- */

/* Holds what a running guest holds: byte 201, "nobody else writes". */
static int hold(const char *name)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1};
    int fd = open(in_folder(name), O_RDWR);

    CU_ASSERT_EQUAL_FATAL(fcntl(fd, F_OFD_SETLK, &lock), 0);
    return fd;
}

static void a_locked_image_is_skipped_or_fails_as_the_policy_says(void)
{
    struct qb_batch batch;
    struct told told;
    int fd;

    make_fleet(&batch);
    fd = hold("c");
    batch.policy.on_locked = QB_ON_LOCKED_SKIP;
    told = run(&batch);
    CU_ASSERT_EQUAL(told.status[2], QB_STATUS_SKIPPED);
    CU_ASSERT_EQUAL(told.code[2], QB_E_LOCKED);
    CU_ASSERT_EQUAL(told.status[3], QB_STATUS_CHANGED);
    batch.policy.on_locked = QB_ON_LOCKED_FAIL;
    told = run(&batch);
    CU_ASSERT_EQUAL(told.status[2], QB_STATUS_FAILED);
    batch.policy.on_locked = QB_ON_LOCKED_WAIT;
    batch.policy.lock_timeout_seconds = 0.15;
    told = run(&batch);
    CU_ASSERT_EQUAL(told.status[2], QB_STATUS_SKIPPED);
    CU_ASSERT_EQUAL(version_of("c"), 3);
    close(fd);
    told = run(&batch);
    CU_ASSERT_EQUAL(told.status[2], QB_STATUS_CHANGED);
    qb_batch_free(&batch);
}

/* It may be tried again; left alone it does not count as failed. */
static void a_locked_image_does_not_stop_a_run_that_ends_at_the_first_failure(void)
{
    struct qb_batch batch;
    struct told told;
    int fd;

    make_fleet(&batch);
    fd = hold("b");
    batch.policy.on_error = QB_ON_ERROR_STOP;
    batch.policy.on_locked = QB_ON_LOCKED_SKIP;
    batch.limits.memory_bytes = 40 << 10; /* waves of one or a few */
    told = run_with(&batch, (struct qb_run_options){.jobs = 1});
    for (size_t i = 0; i < N; i++)
        CU_ASSERT_EQUAL(told.status[i], i == 1 ? QB_STATUS_SKIPPED : QB_STATUS_CHANGED);
    CU_ASSERT_EQUAL(told.code[1], QB_E_LOCKED);
    close(fd);
    qb_batch_free(&batch);
}

static void *let_go_soon(void *fd)
{
    usleep(250000);
    close(*(int *)fd);
    return NULL;
}

static void an_image_whose_lock_goes_in_time_is_amended_after_the_others(void)
{
    struct qb_batch batch;
    struct told told;
    pthread_t thread;
    int fd;

    make_fleet(&batch);
    fd = hold("a");
    batch.policy.on_locked = QB_ON_LOCKED_WAIT;
    batch.policy.lock_timeout_seconds = 30;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, let_go_soon, &fd), 0);
    told = run(&batch);
    pthread_join(thread, NULL);
    for (size_t i = 0; i < N; i++)
        CU_ASSERT_EQUAL(told.status[i], QB_STATUS_CHANGED);
    qb_batch_free(&batch);
}

/* ---- interruption ---------------------------------------------------------------------------- */

enum { CALLS_MAX = 2000 }; /* far more than a run asks whether it is to stop */

static atomic_uint calls_left;

static bool stop_after_some_calls(void)
{
    unsigned left = atomic_load(&calls_left);

    while (left > 0 && !atomic_compare_exchange_weak(&calls_left, &left, left - 1))
        ;
    return left == 0;
}

static void interrupted_at_any_moment_every_image_is_told_of_and_is_old_or_amended(void)
{
    size_t interrupted = 0, changed = 0;

    for (unsigned calls = 0; changed < N && calls < CALLS_MAX; calls++) {
        struct qb_batch batch;
        struct told told;

        make_fleet(&batch);
        atomic_store(&calls_left, calls);
        changed = 0;
        told =
            run_with(&batch, (struct qb_run_options){.jobs = 2, .stopped = stop_after_some_calls});
        for (size_t i = 0; i < N; i++) {
            bool was = told.status[i] == QB_STATUS_CHANGED;

            CU_ASSERT(was ||
                      (told.status[i] == QB_STATUS_INTERRUPTED && told.code[i] == QB_E_CANCELLED));
            CU_ASSERT_EQUAL(version_of(names[i]), was ? 2 : 3);
            interrupted += !was;
            changed += was;
        }
        qb_batch_free(&batch);
    }
    CU_ASSERT(interrupted > 0 && changed == N); /* both ends were reached */
}

static void wherever_a_run_ends_the_backing_file_was_amended_first(void)
{
    size_t partly = 0;

    make_image("top", NULL);
    for (unsigned calls = 0; version_of("top") == 3 && calls < CALLS_MAX; calls++) {
        struct qb_batch batch;

        make_image("base", NULL);
        make_image("mid", "base");
        make_image("top", "mid");
        qb_batch_init(&batch);
        add(&batch, "top", 2);
        add(&batch, "mid", 2);
        add(&batch, "base", 2);
        batch.limits.memory_bytes = 40 << 10; /* a wave for each image */
        atomic_store(&calls_left, calls);
        run_with(&batch, (struct qb_run_options){.jobs = 1, .stopped = stop_after_some_calls});
        CU_ASSERT(version_of("top") == 3 || version_of("mid") == 2);
        CU_ASSERT(version_of("mid") == 3 || version_of("base") == 2);
        partly += version_of("base") == 2 && version_of("top") == 3;
        qb_batch_free(&batch);
    }
    CU_ASSERT(partly > 0);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(run_amends_every_image_and_the_second_run_finds_nothing_to_do),
        UNIT(dry_run_writes_nothing),
        UNIT(an_image_waits_for_its_backing_file_and_is_told_of_in_its_place),
        UNIT(images_in_a_circle_fail_and_the_others_go_on),
        UNIT(a_request_may_end_a_circle_but_not_make_one),
        UNIT(limits_of_memory_and_of_a_filesystem_only_slow_down),
        UNIT(after_a_failure_stop_starts_nothing_more),
        UNIT(timeout_fails_an_image_before_its_flip),
        UNIT(a_locked_image_is_skipped_or_fails_as_the_policy_says),
        UNIT(a_locked_image_does_not_stop_a_run_that_ends_at_the_first_failure),
        UNIT(an_image_whose_lock_goes_in_time_is_amended_after_the_others),
        UNIT(wherever_a_run_ends_the_backing_file_was_amended_first),
        UNIT(interrupted_at_any_moment_every_image_is_told_of_and_is_old_or_amended),
    };

    return scratch_main("run", tests, UNIT_COUNT(tests));
}
