/* The write guard: checks every change directly before the system call.  It does not depend on
 * qcow2, only on what the plan proved to be unused, and it trusts none of the layers above:
 * arithmetic that would overflow, an unknown phase and an unknown operation are refused like any
 * other stray write. */
#include "io/io.h"

#define FLIP_BYTES 512

/* Index of the range that holds byte `at`, or n_allowed. */
static size_t range_of(const struct qb_guard *g, uint64_t at)
{
    size_t low = 0, high = g->n_allowed;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (at >= g->allowed[mid].end)
            low = mid + 1;
        else
            high = mid;
    }
    return low < g->n_allowed && at >= g->allowed[low].first ? low : g->n_allowed;
}

/* Whether all of [offset, offset + len) is allowed; adjacent ranges are like one. */
static bool is_allowed(const struct qb_guard *g, uint64_t offset, uint64_t len)
{
    uint64_t end;
    size_t i;

    if (__builtin_add_overflow(offset, len, &end))
        return false;
    if (len == 0)
        return true;
    i = range_of(g, offset);
    while (i < g->n_allowed && g->allowed[i].end < end) {
        if (i + 1 < g->n_allowed && g->allowed[i + 1].first != g->allowed[i].end)
            return false;
        i++;
    }
    return i < g->n_allowed;
}

static bool allows_append(const struct qb_guard *g, int op, uint64_t offset, uint64_t len)
{
    if (op == QB_OP_SET_SIZE)
        return offset >= g->min_size;
    return (op == QB_OP_WRITE || op == QB_OP_FILL || op == QB_OP_ZERO || op == QB_OP_PUNCH) &&
           is_allowed(g, offset, len);
}

static bool allows_settle(const struct qb_guard *g, int op, uint64_t offset, uint64_t len)
{
    if (op == QB_OP_SET_SIZE)
        return offset >= g->min_size;
    return op == QB_OP_PUNCH && is_allowed(g, offset, len);
}

int qb_guard_check(const struct qb_file *file, int op, uint64_t offset, uint64_t len)
{
    const struct qb_guard *g = &file->guard;
    bool ok = false;

    if (op == QB_OP_READ || op == QB_OP_SYNC)
        return 0;
    switch (g->phase) {
    case QB_PHASE_READ:
        break;
    case QB_PHASE_APPEND:
        ok = allows_append(g, op, offset, len);
        break;
    case QB_PHASE_FLIP:
        ok = op == QB_OP_WRITE && offset == 0 && len == FLIP_BYTES;
        break;
    case QB_PHASE_SETTLE:
        ok = allows_settle(g, op, offset, len);
        break;
    }
    return ok ? 0 : QB_EGUARD;
}
