/* What a run writes down of its images is what a later command reads: sectors, proof, how the file
 * was left, and what is left to do; and when that is on the disk. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "amend/amend.h"
#include "images.h"
#include "outcome/outcome.h"
#include "journal/history.h"
#include "scratch.h"

enum { SECTOR = 512 };

static unsigned n_syncs;
static int sync_fails; /* errno */

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_fsync(int fd);
int __wrap_fsync(int fd);

/* The linker leads the program's calls here. */
int __wrap_fdatasync(int fd)
{
    n_syncs++;
    errno = sync_fails;
    return sync_fails ? -1 : __real_fdatasync(fd);
}

int __wrap_fsync(int fd)
{
    n_syncs++;
    return __real_fsync(fd);
}

/* A run of one image, and the engine's part of it. */
struct run {
    struct qb_batch batch;
    struct qb_state state;
    struct qb_io *io;
    struct qb_amend *amend;
    char path[200];
};

static void run_begin(struct run *r, const struct qb_request *rq)
{
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536};
    struct image_bytes image = image_make(&shape, "d9z9");
    struct qb_err err;

    snprintf(r->path, sizeof(r->path), "%s", make_file("image", image.bytes, image.size));
    image_bytes_free(&image);
    qb_batch_init(&r->batch);
    CU_ASSERT_FATAL(qb_batch_add(&r->batch, r->path, 0, rq) && qb_state_prepare(&r->batch));
    CU_ASSERT_EQUAL_FATAL(qb_state_begin(&r->state, scratch_folder(), &r->batch, &err), 0);
    r->io = open_kind(QB_IO_POSIX);
    r->amend = qb_amend_new(r->path);
    CU_ASSERT_EQUAL_FATAL(qb_amend_open(r->amend, r->io, (struct qb_claim){.writable = true}, NULL),
                          0);
    CU_ASSERT_EQUAL_FATAL(qb_amend_plan(r->amend, r->io, &r->batch.jobs[0].request), 0);
}

static void run_end(struct run *r)
{
    qb_amend_close(r->amend);
    qb_io_close(r->io);
    qb_batch_free(&r->batch);
}

/* Closes the journal as the end of a run does, and reads it. */
static void read_back(struct run *r, struct qb_history *h)
{
    struct qb_summary sum = {0};
    struct qb_err err = {0};

    CU_ASSERT_EQUAL(qb_state_end(&r->state, &r->batch, &sum, 0), 0);
    CU_ASSERT_EQUAL(qb_history_read(scratch_folder(), r->state.id, h, &err), 0);
}

static struct qb_request request(uint64_t set)
{
    struct qb_request rq;

    qb_request_init(&rq);
    rq.set = set;
    rq.compat = 2;
    rq.lazy_refcounts = true;
    rq.size = 1 << 20;
    rq.allow_shrink = true;
    return rq;
}

static void an_undo_finds_the_sectors_the_proof_and_the_file(void)
{
    struct qb_request rq = request(QB_KEY_COMPAT);
    uint8_t old_sector[SECTOR], new_sector[SECTOR];
    struct qb_amend_facts facts;
    struct qb_proof proof, wanted;
    const struct qb_trace *t;
    struct qb_history h;
    struct qb_seen seen;
    struct qb_err err;
    struct run r;

    rq.keep_undo = true;
    run_begin(&r, &rq);
    qb_state_planned(&r.state, &r.batch, &r.batch.jobs[0], r.amend, 0, false);
    CU_ASSERT_EQUAL(qb_amend_append(r.amend, r.io), 0);
    qb_state_appended(&r.state, &r.batch, &r.batch.jobs[0], r.amend);
    CU_ASSERT_EQUAL(qb_amend_flip(r.amend, r.io) + qb_amend_flipped(r.amend, 0), 0);
    facts = qb_amend_facts(r.amend);
    wanted = *qb_amend_proof(r.amend);
    seen = qb_seen_of(qb_amend_file(r.amend)->fd);
    qb_state_over(&r.state, &r.batch, &r.batch.jobs[0], qb_amend_result(r.amend), &seen, 0);
    read_back(&r, &h);
    t = qb_history_find(&h, r.path);
    CU_ASSERT_FATAL(t != NULL);
    CU_ASSERT_EQUAL(qb_history_sectors(scratch_folder(), &h, t, old_sector, new_sector, NULL, &err),
                    0);
    CU_ASSERT_EQUAL(memcmp(old_sector, facts.old_sector, SECTOR), 0);
    CU_ASSERT_EQUAL(memcmp(new_sector, facts.new_sector, SECTOR), 0);
    CU_ASSERT_EQUAL(qb_history_proof(scratch_folder(), &h, t, &proof, &err), 0);
    CU_ASSERT(proof.dev == wanted.dev && proof.ino == wanted.ino && proof.base == wanted.base);
    CU_ASSERT(proof.zero_base == wanted.zero_base && proof.end == wanted.end && proof.end > 0);
    CU_ASSERT(qb_digest_equal(proof.stretch, wanted.stretch));
    CU_ASSERT_EQUAL(proof.cuts_cluster, wanted.cuts_cluster);
    CU_ASSERT_EQUAL(t->length_before, facts.old_length);
    CU_ASSERT(t->done.valid && t->done.ino == seen.ino && t->done.dev == seen.dev);
    CU_ASSERT(t->done.length == seen.length && t->done.mtime_ns == seen.mtime_ns);
    CU_ASSERT(h.undo && qb_history_holds_undo(&h) && !qb_history_is_unfinished(&h));
    qb_history_free(&h);
    run_end(&r);
}

static void what_a_shrink_cuts_within_a_cluster_is_in_the_proof(void)
{
    struct qb_request rq = request(QB_KEY_SIZE);
    struct qb_history h;
    struct qb_proof proof;
    struct qb_err err;
    struct run r;
    struct qb_batch *b = &r.batch;

    rq.size = 4096;
    rq.keep_undo = true;
    run_begin(&r, &rq);
    qb_state_planned(&r.state, b, &b->jobs[0], r.amend, 0, false);
    CU_ASSERT_EQUAL(qb_amend_append(r.amend, r.io), 0);
    ((struct qb_proof *)qb_amend_proof(r.amend))->cuts_cluster = true;
    ((struct qb_proof *)qb_amend_proof(r.amend))->last_entry = 0x4200;
    ((struct qb_proof *)qb_amend_proof(r.amend))->last_bitmap = 0xf000000000000001;
    qb_state_appended(&r.state, b, &b->jobs[0], r.amend);
    read_back(&r, &h);
    CU_ASSERT_EQUAL(
        qb_history_proof(scratch_folder(), &h, qb_history_find(&h, r.path), &proof, &err), 0);
    CU_ASSERT(proof.cuts_cluster && proof.last_entry == 0x4200);
    CU_ASSERT_EQUAL(proof.last_bitmap, 0xf000000000000001);
    qb_history_free(&h);
    run_end(&r);
}

/* An amend of the header alone is recorded where it cannot simply be made twice, or is undone. */
static void which_plans_are_recorded_and_which_runs_are_synced(void)
{
    static const struct {
        uint64_t set;
        bool keep;
        enum qb_size_is size_is;
        bool recorded;
    } plans[] = {
        {QB_KEY_LAZY_REFCOUNTS, false, QB_SIZE_SET, false},
        {QB_KEY_LAZY_REFCOUNTS, true, QB_SIZE_SET, true},
        {QB_KEY_SIZE, false, QB_SIZE_SET, false},
        {QB_KEY_SIZE, false, QB_SIZE_ADDED, true},
        {QB_KEY_SIZE, false, QB_SIZE_AT_LEAST, true},
    };

    for (size_t i = 0; i < UNIT_COUNT(plans); i++) {
        struct qb_request rq = request(plans[i].set);
        struct qb_history h;
        struct run r;

        rq.keep_undo = plans[i].keep;
        rq.size_is = plans[i].size_is;
        n_syncs = 0;
        run_begin(&r, &rq);
        CU_ASSERT_EQUAL(n_syncs, plans[i].recorded ? 2 : 0); /* the journal, and its folder */
        CU_ASSERT_FALSE(qb_amend_appends(r.amend));
        qb_state_planned(&r.state, &r.batch, &r.batch.jobs[0], r.amend, 0, false);
        read_back(&r, &h);
        CU_ASSERT_EQUAL(n_syncs, plans[i].recorded ? 3 : 0); /* and the end */
        CU_ASSERT_EQUAL(qb_history_find(&h, r.path) != NULL, plans[i].recorded);
        qb_history_free(&h);
        run_end(&r);
    }
}

/* One result, written and read. */
static void tell(const struct qb_result *result, struct qb_history *h, struct run *r)
{
    struct qb_request rq = request(QB_KEY_LAZY_REFCOUNTS);

    run_begin(r, &rq);
    qb_state_over(&r->state, &r->batch, &r->batch.jobs[0], result, &(struct qb_seen){0}, 0);
    read_back(r, h);
}

static void how_an_image_ended_is_told(void)
{
    static const uint8_t sectors[2 * SECTOR] = {1};
    const struct qb_result failed = {.status = QB_STATUS_FAILED,
                                     .err = {QB_E_IO, 0, QB_NOWHERE, "why"}},
                           unsure = {.status = QB_STATUS_FAILED,
                                     .header_sent = true,
                                     .err = {QB_E_DURABILITY, 0, QB_NOWHERE, "why"}},
                           wrong = {.status = QB_STATUS_FAILED,
                                    .committed = true,
                                    .header_sent = true,
                                    .header_wrong = true,
                                    .old_sector = sectors,
                                    .new_sector = sectors + SECTOR,
                                    .file_size_before = 4096,
                                    .file_size_after = 8192,
                                    .err = {QB_E_VERIFY, 0, QB_NOWHERE, "why"}},
                           stopped = {.status = QB_STATUS_INTERRUPTED,
                                      .err = {QB_E_CANCELLED, 0, QB_NOWHERE, "why"}};
    const struct {
        const struct qb_result *result;
        bool committed, mistrusted, header_wrong;
        uint64_t length_before, left, to_finish;
    } told[] = {
        {&failed, false, false, false, 0, 0, 1},
        {&unsure, false, false, false, 0, 0, 1},
        {&wrong, true, true, true, 4096, 0, 1},
        {&stopped, false, false, false, 0, 1, 1},
    };

    for (size_t i = 0; i < UNIT_COUNT(told); i++) {
        const struct qb_trace *t;
        struct qb_history h;
        struct run r;

        tell(told[i].result, &h, &r);
        t = qb_history_find(&h, r.path);
        CU_ASSERT_FATAL(t != NULL);
        CU_ASSERT_EQUAL(t->committed, told[i].committed);
        CU_ASSERT_EQUAL(t->mistrusted, told[i].mistrusted);
        CU_ASSERT_EQUAL(t->has_undo, told[i].mistrusted);
        CU_ASSERT_EQUAL(h.undo, told[i].mistrusted);
        CU_ASSERT_EQUAL(t->header_wrong, told[i].header_wrong);
        CU_ASSERT_EQUAL(t->length_before, told[i].length_before);
        CU_ASSERT_EQUAL(h.left, told[i].left);
        CU_ASSERT_EQUAL(h.to_finish, told[i].to_finish);
        qb_history_free(&h);
        run_end(&r);
    }
}

/* That the header was sent and nothing confirmed it is known to the plan that was made before. */
static void a_flip_that_nothing_confirmed_stays_uncertain(void)
{
    for (int sent = 0; sent <= 1; sent++) {
        struct qb_request rq = request(QB_KEY_COMPAT);
        const struct qb_result result = {.status = QB_STATUS_FAILED,
                                         .header_sent = sent,
                                         .err = {QB_E_DURABILITY, 0, QB_NOWHERE, "why"}};
        struct qb_history h;
        struct run r;

        run_begin(&r, &rq);
        qb_state_planned(&r.state, &r.batch, &r.batch.jobs[0], r.amend, 0, false);
        qb_state_over(&r.state, &r.batch, &r.batch.jobs[0], &result, &(struct qb_seen){0}, 0);
        read_back(&r, &h);
        CU_ASSERT_EQUAL(qb_history_find(&h, r.path)->uncertain, sent);
        qb_history_free(&h);
        run_end(&r);
    }
}

static void a_run_whose_journal_cannot_be_synced_does_not_begin(void)
{
    struct qb_request rq = request(QB_KEY_LAZY_REFCOUNTS);
    qb_run_ids before = {0}, after = {0};
    struct qb_batch batch;
    struct qb_state state;
    struct qb_err err = {0};

    rq.keep_undo = true;
    qb_batch_init(&batch);
    CU_ASSERT_FATAL(qb_batch_add(&batch, "/i", 0, &rq) && qb_state_prepare(&batch));
    CU_ASSERT_EQUAL(qb_state_dir_list(scratch_folder(), &before, &err), 0);
    sync_fails = EIO;
    CU_ASSERT_EQUAL(qb_state_begin(&state, scratch_folder(), &batch, &err), -1);
    sync_fails = 0;
    CU_ASSERT_EQUAL(err.sys_errno, EIO);
    CU_ASSERT_EQUAL(qb_state_dir_list(scratch_folder(), &after, &err), 0);
    CU_ASSERT_EQUAL(before.n, after.n); /* no file is left */
    qb_vec_free(&before);
    qb_vec_free(&after);
    qb_batch_free(&batch);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(an_undo_finds_the_sectors_the_proof_and_the_file),
        UNIT(what_a_shrink_cuts_within_a_cluster_is_in_the_proof),
        UNIT(which_plans_are_recorded_and_which_runs_are_synced),
        UNIT(how_an_image_ended_is_told),
        UNIT(a_flip_that_nothing_confirmed_stays_uncertain),
        UNIT(a_run_whose_journal_cannot_be_synced_does_not_begin),
    };

    return scratch_main("run_journal", tests, UNIT_COUNT(tests));
}
