/* What becomes free, leaked clusters among it, is discarded, unless an undo is kept that may need
 * it. */
#include <string.h>

#include "amend/amend_state.h"
#include "amends.h"
#include "unit.h"

static size_t punches(const struct qb_mem_log *log)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(log, &events), found = 0;

    for (size_t i = 0; i < n; i++)
        found += events[i].op == QB_OP_PUNCH;
    return found;
}

/* Of a dirty image the refcounts are counted anew, so that its leaks are none any more. */
static void no_leak_is_freed_while_an_undo_is_kept(void)
{
    for (int which = 0; which < 4; which++) {
        bool dirty = which & 1, keep = which & 2;
        const struct image_shape shape = {
            .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536, .dirty = dirty};
        const struct qb_request rq = {.set = QB_KEY_COMPAT,
                                      .compat = 2,
                                      .on_leaks = QB_LEAKS_FREE,
                                      .keep_undo = keep,
                                      .verify = QB_VERIFY_METADATA};
        struct image_bytes image = image_make(&shape, "d2z2L9d2");
        struct qb_mem_log *log = run_machine(&image);
        struct run r = run_amend(log, 0, &rq, RUN_WHOLE);

        CU_ASSERT_EQUAL(r.rc, 0);
        CU_ASSERT_EQUAL(r.result.status, QB_STATUS_CHANGED);
        CU_ASSERT_EQUAL(punches(log) > 0, !keep);
        CU_ASSERT_EQUAL(r.result.leaks.freed, !keep && !dirty);
        run_free(&r);
        qb_mem_log_free(log);
        image_bytes_free(&image);
    }
}

/* Discards of an amend that frees many stretches; *bytes: how many bytes became free. */
static size_t punches_with(uint64_t punch_min, uint64_t *bytes)
{
    enum { STRETCHES = 150 };
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 2 * STRETCHES * 512};
    const struct qb_request rq = {.set = QB_KEY_COMPAT, .compat = 2, .punch_min = punch_min};
    char script[STRETCHES * 2 + 1] = "";
    struct image_bytes image;
    struct qb_mem_log *log;
    struct run r;
    size_t n;

    for (unsigned i = 0; i < STRETCHES; i++)
        strcat(script, "dZ");
    image = image_make(&shape, script);
    log = run_machine(&image);
    r = run_amend(log, 0, &rq, RUN_WHOLE);
    CU_ASSERT_EQUAL(r.result.status, QB_STATUS_CHANGED);
    CU_ASSERT(r.result.clusters.deallocated >= STRETCHES);
    *bytes = r.result.clusters.deallocated * 512;
    n = punches(log);
    run_free(&r);
    qb_mem_log_free(log);
    image_bytes_free(&image);
    return n;
}

/* In more requests than are sent at once. */
static void every_stretch_that_becomes_free_is_discarded(void)
{
    uint64_t bytes;

    CU_ASSERT(punches_with(0, &bytes) >= 150);
}

static void what_is_not_worth_a_discard_stays_allocated(void)
{
    uint64_t bytes, same;

    punches_with(0, &bytes);
    CU_ASSERT(punches_with(bytes, &same) >= 150);
    CU_ASSERT_EQUAL(punches_with(bytes + 1, &same), 0);
    CU_ASSERT_EQUAL(same, bytes); /* free for the guest all the same */
}

/* Whatever a rule has put in the plan: it is noticed before anything is written. */
static void a_plan_that_would_free_what_is_in_use_is_none(void)
{
    static const struct image_shape shape = {
        .version = 3, .cluster_bits = 9, .refcount_order = 4, .size = 65536};
    const struct qb_request rq = {.set = QB_KEY_COMPAT, .compat = 2, .punch_min = 1};
    struct image_bytes image = image_make(&shape, "d2Z2d2");
    struct qb_mem_log *log = run_machine(&image);
    struct qb_io *io = qb_io_open_mem(log);
    struct qb_amend *a = run_open(io, log, 0);
    struct qb_plan *plan = &a->plan;
    struct qb_clusters clusters;
    unsigned refused = 0;
    struct qb_err err;

    CU_ASSERT_EQUAL_FATAL(qb_amend_plan(a, io, &rq), 0);
    for (uint64_t at = 0; at < plan->place.base; at += 512) {
        size_t n = plan->freed.punches.n;

        CU_ASSERT_FATAL(qb_vec_push(&plan->freed.punches, (struct qb_range){at, at + 512}));
        if (qb_plan_finish_punches(plan, &clusters, &err) < 0) {
            CU_ASSERT_EQUAL(err.code, QB_E_INTERNAL);
            refused++;
            for (size_t i = 0; i < plan->freed.punches.n; i++)
                if (plan->freed.punches.items[i].first == at)
                    plan->freed.punches.items[i].first = plan->freed.punches.items[i].end;
            qb_plan_join_punches(plan);
        }
        CU_ASSERT(plan->freed.punches.n <= n + 1);
    }
    CU_ASSERT(refused >= 6); /* the header, and the data at least */
    CU_ASSERT_EQUAL(qb_plan_sizes(plan, &err), 0);
    plan->reclaim.asked = true;
    plan->reclaim.end = plan->place.end - 512;
    CU_ASSERT_EQUAL(qb_plan_sizes(plan, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_INTERNAL);
    qb_amend_close(a);
    qb_io_close(io);
    qb_mem_log_free(log);
    image_bytes_free(&image);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(no_leak_is_freed_while_an_undo_is_kept),
        UNIT(every_stretch_that_becomes_free_is_discarded),
        UNIT(what_is_not_worth_a_discard_stays_allocated),
        UNIT(a_plan_that_would_free_what_is_in_use_is_none),
    };

    return unit_main("freed", tests, UNIT_COUNT(tests));
}
