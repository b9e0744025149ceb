#include "base/ranges.h"

#include <stdlib.h>

static int by_first(const void *a, const void *b)
{
    const struct qb_range *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

void qb_ranges_sort(struct qb_range *ranges, size_t n)
{
    if (n)
        qsort(ranges, n, sizeof(*ranges), by_first);
}

size_t qb_ranges_past(const struct qb_range *ranges, size_t n, uint64_t at)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (ranges[mid].end > at)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

bool qb_ranges_hold(const struct qb_range *ranges, size_t n, uint64_t byte)
{
    size_t i = qb_ranges_past(ranges, n, byte);

    return i < n && ranges[i].first <= byte;
}
