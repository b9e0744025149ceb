/* The barriers of a run with a journal, two images in one wave: what holds when the sync of one
 * file fails, and what the journal knows before an image is written. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images.h"
#include "journal/history.h"
#include "run/run.h"
#include "scratch.h"

enum { N = 2, SECTOR = 512 };

static ino_t inodes[N];
static unsigned n_syncs[N]; /* of each image */
static unsigned fails_at;   /* which sync of the second image fails, from 1; 0: none */
static unsigned journal_fails_at, n_journal_syncs;
static off_t lengths[N];                 /* of the images, when they were synced last */
static off_t tail;                       /* bytes that are appended to the images */
static const struct timespec *old_times; /* for the images; NULL: those that they have */
static int journal_full;   /* an open file that takes no byte, for the journal; 0: none */
static uint64_t tail_from; /* an earlier run left a tail from this byte on; 0: none did */
static const char *run;    /* its name; NULL: nobody looks */
static bool raw, stops;    /* the files are raw disks; policy.on_error: stop */
static char (*names)[200]; /* of the files */
static off_t recorded[N];  /* their lengths, when the journal was synced first */
static unsigned n_proofs;  /* in the journal, when the images' appended parts were synced */

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

static unsigned count_proofs(void)
{
    struct qb_history h;
    struct qb_err err;
    unsigned n = 0;

    CU_ASSERT_EQUAL(qb_history_read(scratch_folder(), run, &h, &err), 0);
    qb_vec_each (t, &h.traces)
        n += t->proof_at > 0;
    qb_history_free(&h);
    return n;
}

/* The linker leads the program's calls here. */
int __wrap_fdatasync(int fd)
{
    struct stat st;

    CU_ASSERT_EQUAL(fstat(fd, &st), 0);
    for (unsigned i = 0; i < N; i++)
        if (st.st_ino == inodes[i]) {
            lengths[i] = st.st_size;
            if (++n_syncs[i] == 1 && run)
                n_proofs = count_proofs();
            errno = EIO;
            return i == 1 && n_syncs[1] == fails_at ? -1 : 0;
        }
    for (unsigned i = 0; i < N && n_journal_syncs == 0 && names; i++)
        recorded[i] = stat(names[i], &st) == 0 ? st.st_size : -1;
    errno = EIO;
    return ++n_journal_syncs == journal_fails_at ? -1 : 0;
}

static bool one_at_a_time; /* there are only so many descriptors that each wave has one image */

int __real_getrlimit64(__rlimit_resource_t what, struct rlimit *limit);
int __wrap_getrlimit64(__rlimit_resource_t what, struct rlimit *limit);

int __wrap_getrlimit64(__rlimit_resource_t what, struct rlimit *limit)
{
    if (!one_at_a_time || what != RLIMIT_NOFILE)
        return __real_getrlimit64(what, limit);
    *limit = (struct rlimit){1, 1};
    return 0;
}

struct told {
    enum qb_status status[N];
    enum qb_code code[N];
};

static void listen(void *arg, size_t job, const struct qb_outcome *outcome)
{
    struct told *told = arg;

    told->status[job] = outcome->result.status;
    told->code[job] = outcome->result.err.code;
}

static const struct image_shape shape = {
    .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536};

/* Amends two images, each in a file of its own, with a journal. */
static struct told run_request(char paths[N][200], const struct qb_request *rq)
{
    struct image_bytes image = image_make(&shape, "d9z9");
    struct told told;
    const struct qb_listener listener = {.arg = &told, .image = listen};
    struct qb_run_options options = {.io = QB_IO_POSIX, .jobs = 1};
    struct qb_summary sum = {0};
    struct qb_batch batch;
    struct qb_state state;
    struct qb_err err;
    struct stat st;

    qb_batch_init(&batch);
    batch.policy.sync = QB_SYNC_FILE;
    batch.undo_kept = true;
    batch.policy.on_error = stops ? QB_ON_ERROR_STOP : QB_ON_ERROR_CONTINUE;
    if (raw)
        memset(image.bytes, 7, SECTOR);
    for (unsigned i = 0; i < N; i++) {
        snprintf(paths[i], 200, "%s", make_file(i ? "b" : "a", image.bytes, image.size));
        CU_ASSERT_EQUAL(truncate(paths[i], (off_t)image.size + tail), 0);
        CU_ASSERT_EQUAL(old_times ? utimensat(AT_FDCWD, paths[i], old_times, 0) : 0, 0);
        CU_ASSERT_EQUAL(stat(paths[i], &st), 0);
        inodes[i] = st.st_ino;
        n_syncs[i] = 0;
        CU_ASSERT_FATAL(qb_batch_add(&batch, paths[i], 0, rq));
        batch.jobs[i].abandoned_from = tail_from;
    }
    CU_ASSERT_FATAL(qb_state_prepare(&batch));
    CU_ASSERT_EQUAL_FATAL(qb_state_begin(&state, scratch_folder(), &batch, &err), 0);
    if (journal_full)
        CU_ASSERT_FATAL(dup2(journal_full, state.journal.file.fd) >= 0);
    options.state = &state;
    run = journal_full ? NULL : state.id;
    n_journal_syncs = 0;
    names = paths;
    CU_ASSERT_EQUAL_FATAL(qb_run(&batch, &options, &listener, &err), 0);
    run = NULL;
    names = NULL;
    fails_at = journal_fails_at = 0;
    qb_state_end(&state, &batch, &sum, 0);
    qb_batch_free(&batch);
    image_bytes_free(&image);
    return told;
}

static struct qb_request request_for(uint32_t key)
{
    struct qb_request rq;

    qb_request_init(&rq);
    rq.set = key;
    rq.compat = 2;
    rq.lazy_refcounts = true;
    rq.keep_undo = true;
    return rq;
}

/* Downgrades both. */
static struct told run_two(char paths[N][200])
{
    struct qb_request down = request_for(QB_KEY_COMPAT);

    return run_request(paths, &down);
}

/* The version that the header says. */
static unsigned version_of(const char *path)
{
    uint8_t head[8] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    CU_ASSERT_EQUAL(pread(fd, head, sizeof(head), 0), sizeof(head));
    close(fd);
    return head[7];
}

static bool is_lazy(const char *path)
{
    uint8_t features[8] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    CU_ASSERT_EQUAL(pread(fd, features, sizeof(features), 80), sizeof(features));
    close(fd);
    return features[7] & 1;
}

static void what_an_undo_needs_is_in_the_journal_before_the_first_barrier(void)
{
    char paths[N][200];
    struct told told = run_two(paths);

    for (unsigned i = 0; i < N; i++) {
        CU_ASSERT_EQUAL(told.status[i], QB_STATUS_CHANGED);
        CU_ASSERT_EQUAL(n_syncs[i], 2);
        CU_ASSERT_EQUAL(version_of(paths[i]), 2);
    }
    CU_ASSERT(n_journal_syncs > 0);
    CU_ASSERT_EQUAL(n_proofs, N);
}

static void the_sync_of_one_image_that_fails_is_that_image_s_alone(void)
{
    static const enum qb_code codes[] = {QB_E_IO, QB_E_DURABILITY};

    for (unsigned turn = 0; turn < 4; turn++) {
        unsigned k = fails_at = 1 + turn % 2;
        char paths[N][200];
        struct told told;

        stops = turn / 2;
        told = run_two(paths);
        CU_ASSERT_EQUAL(told.status[0], stops && k == 1 ? QB_STATUS_SKIPPED : QB_STATUS_CHANGED);
        CU_ASSERT_EQUAL(told.status[1], QB_STATUS_FAILED);
        CU_ASSERT_EQUAL(told.code[1], codes[k - 1]);
        CU_ASSERT_EQUAL(version_of(paths[0]), stops && k == 1 ? 3 : 2);
        CU_ASSERT_EQUAL(version_of(paths[1]), k == 1 ? 3 : 2);
        stops = false;
    }
}

static void nothing_is_written_that_the_journal_may_not_hold(void)
{
    /* One wave after the other, the second is recorded while that sync is under way. */
    for (int waves = 1; waves <= 2; waves++) {
        char paths[N][200];
        struct told told;

        one_at_a_time = waves == 2;
        journal_fails_at = 1;
        told = run_two(paths);
        one_at_a_time = false;
        for (unsigned i = 0; i < N; i++) {
            CU_ASSERT_EQUAL(told.status[i], QB_STATUS_FAILED);
            CU_ASSERT_EQUAL(version_of(paths[i]), 3);
        }
    }
}

/* What an earlier run may have amended just before it was killed is durable before its tail goes.
 */
static void what_is_as_asked_is_synced_before_anything_is_cut_off(void)
{
    struct qb_request lazy = request_for(QB_KEY_LAZY_REFCOUNTS);
    struct image_bytes image = image_make(&shape, "d9z9");
    struct stat st;

    lazy.lazy_refcounts = false;
    for (unsigned fails = 0; fails <= 1; fails++) {
        char paths[N][200];
        struct told told;

        tail_from = image.size;
        tail = 5 * 512;
        fails_at = fails;
        told = run_request(paths, &lazy);
        tail_from = tail = 0;
        for (unsigned i = 0; i < N; i++) {
            bool failed = fails && i == 1;

            CU_ASSERT_EQUAL(told.status[i], failed ? QB_STATUS_FAILED : QB_STATUS_UNCHANGED);
            CU_ASSERT_EQUAL(told.code[i], failed ? QB_E_DURABILITY : QB_E_NONE);
            CU_ASSERT_EQUAL(n_syncs[i], 1);
            CU_ASSERT_EQUAL(lengths[i], (off_t)image.size + 5 * 512);
            CU_ASSERT_EQUAL(stat(paths[i], &st), 0);
            CU_ASSERT_EQUAL(st.st_size, (off_t)image.size + (failed ? 5 * 512 : 0));
        }
    }
    image_bytes_free(&image);
}

/* Not by a byte, and not for a moment: a run that is killed then would leave what nobody knows of.
 */
static void nothing_is_written_that_could_not_be_recorded(void)
{
    struct qb_request down = request_for(QB_KEY_COMPAT);
    struct timespec then[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    char paths[N][200];
    struct told told;
    struct stat st;

    journal_full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    old_times = then;
    told = run_request(paths, &down);
    close(journal_full);
    journal_full = 0;
    old_times = NULL;
    for (unsigned i = 0; i < N; i++) {
        CU_ASSERT_EQUAL(told.status[i], QB_STATUS_FAILED);
        CU_ASSERT_EQUAL(stat(paths[i], &st), 0);
        CU_ASSERT_EQUAL(st.st_mtim.tv_sec, then->tv_sec);
    }
}

/* Nothing is appended, so that the barrier before the flip is for the journal alone. */
static void nor_is_a_header_where_nothing_else_is_written(void)
{
    struct qb_request lazy = request_for(QB_KEY_LAZY_REFCOUNTS);

    for (unsigned fails = 0; fails <= 1; fails++) {
        char paths[N][200];
        struct told told;

        journal_fails_at = fails;
        told = run_request(paths, &lazy);
        for (unsigned i = 0; i < N; i++) {
            CU_ASSERT_EQUAL(told.status[i], fails ? QB_STATUS_FAILED : QB_STATUS_CHANGED);
            CU_ASSERT_EQUAL(is_lazy(paths[i]), !fails);
        }
    }
}

/* Only the journal knows how long a raw disk was, once tables are behind it. */
static void a_raw_disk_does_not_get_longer_before_its_length_is_recorded(void)
{
    struct qb_request convert = request_for(QB_KEY_CONVERT);

    convert.convert_from = "raw";
    convert.convert_to = "qcow2";
    convert.keep_undo = false;
    raw = true;
    for (unsigned fails = 0; fails <= 1; fails++) {
        char paths[N][200];
        struct told told;

        journal_fails_at = fails;
        told = run_request(paths, &convert);
        for (unsigned i = 0; i < N; i++) {
            struct stat st = {0};

            CU_ASSERT_EQUAL(told.status[i], fails ? QB_STATUS_FAILED : QB_STATUS_CHANGED);
            CU_ASSERT_EQUAL(stat(paths[i], &st), 0);
            CU_ASSERT(fails ? st.st_size == recorded[i] : st.st_size > recorded[i]);
            CU_ASSERT(!fails || n_syncs[i] == 0);
        }
    }
    raw = false;
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(what_an_undo_needs_is_in_the_journal_before_the_first_barrier),
        UNIT(the_sync_of_one_image_that_fails_is_that_image_s_alone),
        UNIT(nothing_is_written_that_the_journal_may_not_hold),
        UNIT(nor_is_a_header_where_nothing_else_is_written),
        UNIT(nothing_is_written_that_could_not_be_recorded),
        UNIT(a_raw_disk_does_not_get_longer_before_its_length_is_recorded),
        UNIT(what_is_as_asked_is_synced_before_anything_is_cut_off),
    };

    return scratch_main("run_barriers", tests, UNIT_COUNT(tests));
}
