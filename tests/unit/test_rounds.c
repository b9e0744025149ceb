/* Compaction in several commits: what becomes of the image and of the result when a later one, a
 * round, comes to nothing, for each reason. */
#include <errno.h>
#include <string.h>

#include "amends.h"
#include "images.h"
#include "judge.h"
#include "unit.h"

static const struct image_shape shape = {
    .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 1 << 20};
static const struct qb_request wide = {.set = QB_KEY_RECLAIM | QB_KEY_REFCOUNT_BITS,
                                       .reclaim_compact = true,
                                       .refcount_bits = 64,
                                       .verify = QB_VERIFY_METADATA};

struct case_of {
    struct image_bytes image;
    struct qb_mem_log *log;
    struct qb_io *io;
    struct qb_amend *a;
};

static int commit(struct case_of *c)
{
    if (qb_amend_remember(c->a, c->io) < 0 || qb_amend_append(c->a, c->io) < 0 ||
        run_barrier(c->io, c->a) != 0 || qb_amend_flip(c->a, c->io) < 0 ||
        qb_amend_flipped(c->a, run_barrier(c->io, c->a)) < 0 || qb_amend_verify(c->a, c->io) < 0)
        return -1;
    qb_amend_settle(c->a, c->io);
    return 0;
}

/* The first commit is done, and more is to be done. */
static struct case_of begin(void)
{
    struct case_of c = {.image = image_make(&shape, "d100H900d700H500d200")};

    c.log = run_machine(&c.image);
    c.io = run_io(c.log);
    c.a = run_open(c.io, c.log, 0);
    CU_ASSERT_EQUAL_FATAL(qb_amend_plan(c.a, c.io, &wide), 0);
    CU_ASSERT_EQUAL_FATAL(commit(&c), 0);
    CU_ASSERT_TRUE_FATAL(qb_amend_has_more(c.a));
    return c;
}

static void end(struct case_of *c)
{
    qb_amend_close(c->a);
    qb_io_close(c->io);
    qb_mem_log_free(c->log);
    image_bytes_free(&c->image);
}

static void rounds_end_the_image_earlier_until_there_is_nothing_to_gain(void)
{
    struct case_of c = begin();
    uint64_t size = qb_amend_result(c.a)->file_size_after;
    unsigned n = 0;

    while (qb_amend_has_more(c.a)) {
        CU_ASSERT(n == 0 || qb_amend_result(c.a)->file_size_after < size);
        size = qb_amend_result(c.a)->file_size_after;
        CU_ASSERT_EQUAL(size, qb_amend_file(c.a)->size);
        if (qb_amend_again(c.a, c.io, 0) <= 0)
            break;
        CU_ASSERT_EQUAL_FATAL(commit(&c), 0);
        n++;
    }
    CU_ASSERT(n >= 1);
    CU_ASSERT_FALSE(qb_amend_has_more(c.a));
    CU_ASSERT_EQUAL(qb_amend_result(c.a)->status, QB_STATUS_CHANGED);
    CU_ASSERT_EQUAL(qb_amend_result(c.a)->reclaim_errno, 0);
    CU_ASSERT(size <= UINT64_C(512) * (1000 + 50));
    end(&c);
}

/* The image is as the first commit left it, and the result says why nothing came of the round. */
static void each_reason_for_which_nothing_comes_of_a_round_is_told_as_an_errno(void)
{
    static const struct {
        enum qb_code code;
        int sys, told;
    } reasons[] = {
        {QB_E_NO_SPACE, 0, ENOSPC},
        {QB_E_NO_SPACE, EDQUOT, EDQUOT},
        {QB_E_MEMORY, 0, ENOMEM},
        {QB_E_CHANGED, 0, EBUSY},
        {QB_E_IO, 0, EIO},
        {QB_E_IO, ENODEV, ENODEV},
        {QB_E_CORRUPT, 0, ECANCELED},
    };

    for (size_t i = 0; i < UNIT_COUNT(reasons); i++) {
        struct case_of c = begin();
        struct image_bytes now = run_content(c.log, 0);
        struct image_bytes before = image_bytes_copy(&now);
        const struct qb_err why = {.code = reasons[i].code, .sys_errno = reasons[i].sys};

        CU_ASSERT_EQUAL_FATAL(qb_amend_again(c.a, c.io, 0), 1);
        CU_ASSERT_EQUAL(qb_amend_append(c.a, c.io), 0);
        qb_amend_give_up(c.a, c.io, &why);
        now = run_content(c.log, 0);
        CU_ASSERT_EQUAL(now.size, before.size);
        CU_ASSERT_EQUAL(memcmp(now.bytes, before.bytes, 512), 0);
        CU_ASSERT_EQUAL(qb_amend_result(c.a)->status, QB_STATUS_CHANGED);
        CU_ASSERT_EQUAL(qb_amend_result(c.a)->reclaim_errno, reasons[i].told);
        CU_ASSERT_FALSE(qb_amend_has_more(c.a));
        image_bytes_free(&before);
        end(&c);
    }
}

static void a_round_without_memory_may_be_tried_again_with_more(void)
{
    struct case_of c = begin();

    CU_ASSERT_EQUAL(qb_amend_again(c.a, c.io, 1), -1);
    CU_ASSERT_EQUAL(qb_amend_result(c.a)->reclaim_errno, ENOMEM);
    CU_ASSERT_EQUAL(qb_amend_again(c.a, c.io, 1 << 20), 1);
    CU_ASSERT_EQUAL(qb_amend_result(c.a)->reclaim_errno, 0);
    CU_ASSERT_EQUAL(commit(&c), 0);
    end(&c);
}

static bool at_once(void *arg)
{
    (void)arg;
    return true;
}

static void an_interruption_is_told_wherever_it_comes(void)
{
    for (unsigned when = 0; when < 4; when++) {
        struct case_of c = begin();

        if (when == 1)
            qb_io_set_stop(c.io, at_once, NULL);
        if (when > 0)
            CU_ASSERT_EQUAL_FATAL(qb_amend_again(c.a, c.io, 0), when > 1);
        if (when == 2)
            qb_io_set_stop(c.io, at_once, NULL);
        if (when > 1)
            CU_ASSERT_EQUAL_FATAL(qb_amend_append(c.a, c.io), when == 2 ? -1 : 0);
        qb_io_set_stop(c.io, NULL, NULL);
        if (when == 0 || when == 3)
            qb_amend_interrupt(c.a, c.io);
        CU_ASSERT_EQUAL(qb_amend_result(c.a)->status, QB_STATUS_INTERRUPTED);
        CU_ASSERT_EQUAL(qb_amend_result(c.a)->err.code, QB_E_CANCELLED);
        CU_ASSERT_TRUE(qb_amend_result(c.a)->committed);
        CU_ASSERT_FALSE(qb_amend_has_more(c.a));
        end(&c);
    }
}

static void a_barrier_that_fails_ends_a_round(void)
{
    struct case_of c = begin();

    CU_ASSERT_EQUAL_FATAL(qb_amend_again(c.a, c.io, 0), 1);
    CU_ASSERT_EQUAL_FATAL(qb_amend_append(c.a, c.io), 0);
    qb_amend_append_lost(c.a, c.io, EIO);
    CU_ASSERT_EQUAL(qb_amend_result(c.a)->status, QB_STATUS_CHANGED);
    CU_ASSERT_EQUAL(qb_amend_result(c.a)->reclaim_errno, EIO);
    end(&c);
}

/* Each kind of thing at the end, with room before it, and the power cut at every write. */
static void what_moves_survives_power_loss(void)
{
    static const char *const scripts[] = {
        "d2H60c9d3c4",      "H40c30",          "c3H50c9Sd3c2",        "d9SH70@20c9Sd3o2c3",
        "H90d20Sc3H2d9c20", "d3H40d5c1d1c1d1", "H30c5SSc5H20@2d1c3S",
    };
    unsigned long states = 0, amends = 0;

    for (size_t i = 0; i < UNIT_COUNT(scripts) * 24; i++) {
        struct image_shape s = {.version = i % 2 + 2,
                                .cluster_bits = 9 + i / 2 % 2 * 2,
                                .refcount_order = i % 2 ? 3 + i / 4 % 2 : 4,
                                .size = 65536,
                                .bitmaps = i % 2 ? i / 4 % 3 : 0};
        struct subject subject = {.image = image_make(&s, scripts[i / 24]),
                                  .rq = {.set = QB_KEY_RECLAIM,
                                         .reclaim_compact = true,
                                         .verify = i % 3 ? QB_VERIFY_METADATA : QB_VERIFY_CONTENT}};
        struct qb_mem_log *log;
        struct judge j;

        snprintf(subject.name, sizeof(subject.name), "%s, number %zu", scripts[i / 24], i);
        judge_begin(&j, &subject, &log);
        if (j.amends)
            judge_cuts(&j, log, 0, 2);
        CU_ASSERT_EQUAL(j.violations, 0);
        if (j.violations)
            fprintf(stderr, "\n%s: %s", subject.name, j.first);
        amends += j.amends;
        states += j.states;
        judge_end(&j);
        qb_mem_log_free(log);
        subject_free(&subject);
    }
    printf("%lu amends, %lu states ... ", amends, states);
    CU_ASSERT(amends > UNIT_COUNT(scripts) * 16);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(rounds_end_the_image_earlier_until_there_is_nothing_to_gain),
        UNIT(each_reason_for_which_nothing_comes_of_a_round_is_told_as_an_errno),
        UNIT(a_round_without_memory_may_be_tried_again_with_more),
        UNIT(an_interruption_is_told_wherever_it_comes),
        UNIT(a_barrier_that_fails_ends_a_round),
        UNIT(what_moves_survives_power_loss),
    };

    return unit_main("rounds", tests, UNIT_COUNT(tests));
}
