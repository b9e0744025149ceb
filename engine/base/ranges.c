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

bool qb_ranges_hold(const struct qb_range *ranges, size_t n, uint64_t byte)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (ranges[mid].end > byte)
            high = mid;
        else
            low = mid + 1;
    }
    return low < n && ranges[low].first <= byte;
}
