/* Storage that fails: whichever request of an amend goes wrong, once or for good, the image is the
 * old one or the amended one, the error is told, and the amend ends well when it is run again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mem/mem_disk.h"
#include "judge.h"
#include "unit.h"

#define NEVER (1ull << 40)

#ifdef __SANITIZE_ADDRESS__
#define STEP   67
#define IMAGES 30
#elif defined(__clang__) /* the same code: gcc's build tries all of it */
#define STEP   23
#define IMAGES 30
#else
#define STEP   5
#define IMAGES 120
#endif

static unsigned long runs, states, violations;

/* How many requests the amend makes. */
static uint64_t count_requests(const struct subject *s)
{
    struct qb_mem_log *log = run_machine(&s->image);
    struct run r;
    uint64_t n;

    qb_mem_fail(log, NEVER, EIO, false);
    r = run_amend(log, 0, &s->rq, RUN_WHOLE);
    run_free(&r);
    n = NEVER - log->countdown;
    qb_mem_log_free(log);
    return n;
}

struct fault {
    uint64_t nth;
    int errnum;
    bool onwards;
};

static void check_result(struct judge *j, const struct run *r, const struct fault *f, bool flipped,
                         const char *at)
{
    const struct qb_result *result = &r->result;
    enum qb_code code = result->err.code;

    if (r->rc == 0) {
        if (result->status != QB_STATUS_CHANGED || !flipped)
            judge_blame(j, at, "success is reported, and the image is not amended");
        if ((j->s->rq.set & QB_KEY_RECLAIM) && result->file_size_after > j->done.size &&
            !result->reclaim_errno)
            judge_blame(j, at, "the file is longer than in peace, and no reason is told");
        return;
    }
    if (result->status != QB_STATUS_FAILED || !result->err.text || !result->err.text[0])
        judge_blame(j, at, "the error is not told");
    if (code == QB_E_VERIFY && result->committed && flipped)
        return; /* what was amended could not be read back */
    if (code != QB_E_DURABILITY && code != (f->errnum == EIO ? QB_E_IO : QB_E_NO_SPACE))
        judge_blame(j, at, result->err.text);
    if (flipped && result->after)
        judge_blame(j, at, "facts are told that nobody knows");
}

static void fail_once(struct judge *j, const struct fault *f)
{
    struct qb_mem_log *log = run_machine(&j->s->image);
    const struct qb_mem_event *events;
    struct image_bytes now;
    struct run r;
    struct qb_err err;
    size_t n;
    bool flipped;
    char at[80];

    runs++;
    snprintf(at, sizeof(at), "request %llu fails with %d%s", (unsigned long long)f->nth, f->errnum,
             f->onwards ? " and all behind" : "");
    qb_mem_fail(log, f->nth, f->errnum, f->onwards);
    r = run_amend(log, 0, &j->s->rq, RUN_WHOLE);
    qb_mem_fail(log, 0, 0, false);
    n = qb_mem_events(log, &events);
    flipped = judge_flip(log, 0) < n;
    now = run_content(log, 0);
    check_result(j, &r, f, flipped, at);
    err = qb_err_of(&r.result.err);
    run_free(&r);
    if (!flipped)
        judge_untouched(j, &err, &now, !f->onwards, at);
    if (judge_is_new(j, &now))
        judge_state(j, &now, flipped ? AMENDED : OLD, at);
    for (uint64_t seed = 1; seed <= 2; seed++) /* and then the power goes */
        judge_cut(j, log, 0, n, seed * 31 + f->nth, judge_allows(log, 0, n));
    qb_mem_log_free(log);
}

static void fail_everywhere(const struct subject *s)
{
    uint64_t n = count_requests(s);
    struct judge j;

    judge_begin(&j, s, NULL);
    for (uint64_t i = 0; j.amends && i < n; i++)
        for (unsigned k = 0; k < 4; k++) {
            const struct fault f = {i, k & 1 ? ENOSPC : EIO, k & 2};

            fail_once(&j, &f);
        }
    states += j.states;
    violations += j.violations;
    if (j.violations) {
        fprintf(stderr, "\n%s (%lu violations)", j.first, j.violations);
        CU_FAIL("an image that must not be");
    }
    judge_end(&j);
}

static void amend_survives_every_request_that_fails(void)
{
    unsigned long step = unit_setting("QB_FAULT_STEP", STEP);

    for (size_t i = 0; i < n_recipes && !unit_has_enough(); i++)
        for (size_t k = i % step; k < n_wishes; k += step) {
            struct subject s;

            if (recipes[i].heavy)
                continue;
            s = subject_of(&recipes[i], &wishes[k]);
            fail_everywhere(&s);
            subject_free(&s);
        }
}

static void amend_survives_every_request_that_fails_with_a_data_file(void)
{
    unsigned long step = unit_setting("QB_FAULT_STEP", 7 * STEP);

    for (size_t i = 0; i < n_data_recipes && !unit_has_enough(); i++)
        for (size_t k = i % step; k < n_wishes + n_data_wishes; k += step) {
            const struct wish *w = k < n_wishes ? &wishes[k] : &data_wishes[k - n_wishes];
            struct subject s = subject_of(&data_recipes[i], w);

            fail_everywhere(&s);
            subject_free(&s);
        }
}

static void random_amends_survive_every_request_that_fails(void)
{
    unsigned long n = unit_setting("QB_FAULT_IMAGES", IMAGES),
                  first = unit_setting("QB_FAULT_FIRST", 500000);

    for (unsigned long i = first; i < first + n && !unit_has_enough(); i++) {
        struct subject s = subject_random(i);

        fail_everywhere(&s);
        subject_free(&s);
    }
}

/* A deadline or ^C before the flip. */
static void cancelled_amend_leaves_the_old_image(void)
{
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct subject s = subject_random(seed);
        struct qb_mem_log *log = run_machine(&s.image);
        struct qb_io *io = run_io(log);
        struct qb_amend *a = run_open(io, log, 0);
        struct image_bytes now;
        struct judge j;

        judge_begin(&j, &s, NULL);
        if (qb_amend_plan(a, io, &s.rq) == 0 && j.amends) {
            CU_ASSERT_EQUAL(qb_amend_append(a, io), 0);
            qb_amend_cancel(a, io, QB_E_CANCELLED);
            CU_ASSERT_EQUAL(qb_amend_result(a)->status, QB_STATUS_INTERRUPTED);
            CU_ASSERT_EQUAL(qb_amend_result(a)->err.code, QB_E_CANCELLED);
            now = run_content(log, 0);
            CU_ASSERT_EQUAL(now.size, s.image.size);
            judge_state(&j, &now, OLD, "cancelled");
        }
        CU_ASSERT_EQUAL(j.violations, 0);
        judge_end(&j);
        qb_amend_close(a);
        qb_io_close(io);
        qb_mem_log_free(log);
        subject_free(&s);
    }
}

/* Somebody else writes the header between planning and flip. */
static void flip_does_not_happen_over_a_header_that_changed(void)
{
    struct subject s = subject_of(&recipes[3], &wishes[0]);
    struct qb_mem_log *log = run_machine(&s.image);
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open(io, log, 0);

    CU_ASSERT_EQUAL(qb_amend_plan(a, io, &s.rq), 0);
    CU_ASSERT_EQUAL(qb_amend_append(a, io), 0);
    log->disks.items[0]->now.bytes[300] ^= 1;
    CU_ASSERT_EQUAL(qb_amend_flip(a, io), -1);
    CU_ASSERT_EQUAL(qb_amend_result(a)->err.code, QB_E_CHANGED);
    log->disks.items[0]->now.bytes[300] ^= 1;
    CU_ASSERT_EQUAL(memcmp(log->disks.items[0]->now.bytes, s.image.bytes, s.image.size), 0);
    CU_ASSERT_EQUAL(log->disks.items[0]->now.size, s.image.size);
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    subject_free(&s);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(amend_survives_every_request_that_fails),
        UNIT(amend_survives_every_request_that_fails_with_a_data_file),
        UNIT(random_amends_survive_every_request_that_fails),
        UNIT(cancelled_amend_leaves_the_old_image),
        UNIT(flip_does_not_happen_over_a_header_that_changed),
    };
    int rc;

    amends_begin();
    rc = unit_main("faults", tests, UNIT_COUNT(tests));
    amends_end();
    printf("faults: %lu runs, %lu states, %lu violations\n", runs, states, violations);
    return rc;
}
