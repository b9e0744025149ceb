/* What one image may cost: a function of what its files occupy, held wherever a loop asks whether
 * to go on. */
#include <stdint.h>

#include "io/budget.h"
#include "io/io.h"
#include "mem/mem.h"
#include "unit.h"

#define MIB (UINT64_C(1) << 20)

static void what_files_occupy_explains_so_much_and_never_wraps(void)
{
    CU_ASSERT_DOUBLE_EQUAL(qb_budget_cpu(0), 60, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(qb_budget_cpu(400 * MIB), 160, 1e-9);
    CU_ASSERT_EQUAL(qb_budget_append(0), 256 * MIB);
    CU_ASSERT_EQUAL(qb_budget_append(MIB), 320 * MIB);
    CU_ASSERT_EQUAL(qb_budget_memory(MIB), 72 * MIB);
    CU_ASSERT_EQUAL(qb_budget_report(MIB), 65 * MIB);
    CU_ASSERT_EQUAL(qb_budget_append(UINT64_MAX / 64), UINT64_MAX);
    CU_ASSERT_EQUAL(qb_budget_memory(UINT64_MAX), UINT64_MAX);
}

static void each_file_that_is_opened_counts(void)
{
    struct qb_budget b = {0};

    qb_budget_add(&b, &(struct qb_file){.allocated_at_open = 3 * MIB});
    qb_budget_add(&b, &(struct qb_file){.allocated_at_open = 2 * MIB});
    CU_ASSERT_EQUAL(b.occupied, 5 * MIB);
    qb_budget_add(&b, &(struct qb_file){.allocated_at_open = UINT64_MAX});
    CU_ASSERT_EQUAL(b.occupied, UINT64_MAX);
}

static bool always(void *asked)
{
    ++*(unsigned *)asked;
    return true;
}

static void time_that_is_used_up_ends_the_work(void)
{
    struct qb_mem_log *log = qb_mem_log_new();
    struct qb_io *io = qb_io_open_mem(log);
    struct qb_budget b = {.cpu_seconds = 0.05};
    struct qb_err err = {0};
    unsigned long went_on = 0;
    unsigned asked = 0;

    CU_ASSERT_EQUAL(qb_io_go_on(io, &err), 0);
    qb_io_set_budget(io, &b);
    while (qb_io_go_on(io, &err) == 0)
        went_on++;
    qb_io_set_budget(io, NULL);
    CU_ASSERT_EQUAL(err.code, QB_E_OVER_BUDGET);
    CU_ASSERT_STRING_EQUAL(err.text, "gave up after 0.05 s of processor time, more than its files "
                                     "explain (limits.per_image.cpu)");
    CU_ASSERT(went_on > 64);
    CU_ASSERT(b.used_seconds >= 0.05);
    CU_ASSERT_EQUAL(qb_io_go_on(io, &err), 0); /* another image's turn */

    b.asked = 0; /* what was used before the pause counts */
    qb_io_set_budget(io, &b);
    CU_ASSERT_EQUAL(qb_io_go_on(io, &err), -1);
    qb_io_set_stop(io, always, &asked); /* the stop goes first */
    CU_ASSERT_EQUAL(qb_io_go_on(io, &err), -1);
    CU_ASSERT_EQUAL(err.code, QB_E_CANCELLED);
    qb_io_close(io);
    qb_mem_log_free(log);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(what_files_occupy_explains_so_much_and_never_wraps),
        UNIT(each_file_that_is_opened_counts),
        UNIT(time_that_is_used_up_ends_the_work),
    };

    return unit_main("budget", tests, UNIT_COUNT(tests));
}
