#include "io/budget.h"

#include "base/clock.h"

enum {
    ASKED_EACH_TIME =
        64, /* a look at the clock costs as much as some of what is done between two */
    CPU_SECONDS = 60,
    APPEND_TIMES = 64,
    MEMORY_TIMES = 8,
    REPORT_TIMES = 64,
};

#define CPU_BYTES_A_SECOND (UINT64_C(4) << 20)
#define APPEND_BYTES       (UINT64_C(256) << 20)
#define MEMORY_BYTES       (UINT64_C(64) << 20)
#define REPORT_BYTES       (UINT64_C(1) << 20)

static uint64_t times(uint64_t occupied, uint64_t factor, uint64_t more)
{
    uint64_t sum;

    if (__builtin_mul_overflow(occupied, factor, &sum) || __builtin_add_overflow(sum, more, &sum))
        return UINT64_MAX;
    return sum;
}

double qb_budget_cpu(uint64_t occupied)
{
    return CPU_SECONDS + (double)occupied / (double)CPU_BYTES_A_SECOND;
}

uint64_t qb_budget_append(uint64_t occupied)
{
    return times(occupied, APPEND_TIMES, APPEND_BYTES);
}

uint64_t qb_budget_memory(uint64_t occupied)
{
    return times(occupied, MEMORY_TIMES, MEMORY_BYTES);
}

uint64_t qb_budget_report(uint64_t occupied)
{
    return times(occupied, REPORT_TIMES, REPORT_BYTES);
}

void qb_budget_add(struct qb_budget *b, const struct qb_file *file)
{
    if (__builtin_add_overflow(b->occupied, file->allocated_at_open, &b->occupied))
        b->occupied = UINT64_MAX;
}

static double allowed(const struct qb_budget *b)
{
    return b->cpu_seconds > 0 ? b->cpu_seconds : qb_budget_cpu(b->occupied);
}

/* Asking for the thread's time takes a system call: a header-only amend asks never, for whatever
 * depends on what a file claims is a loop that asks whether the budget is spent. */
void qb_budget_go(struct qb_budget *b)
{
    b->runs = false;
}

void qb_budget_pause(struct qb_budget *b)
{
    if (b->runs)
        b->used_seconds += qb_thread_seconds() - b->from_seconds;
    b->runs = false;
}

bool qb_budget_is_spent(struct qb_budget *b)
{
    double now;

    if (b->runs && ++b->asked % ASKED_EACH_TIME != 0)
        return false;
    now = qb_thread_seconds();
    if (!b->runs)
        b->from_seconds = now;
    b->runs = true;
    return b->used_seconds + now - b->from_seconds > allowed(b);
}

int qb_budget_fail(const struct qb_budget *b, struct qb_err *err)
{
    return qb_fail(err, QB_E_OVER_BUDGET, QB_NOWHERE,
                   "gave up after %.3g s of processor time, more than its files explain "
                   "(limits.per_image.cpu)",
                   allowed(b));
}
