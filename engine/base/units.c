#include "base/units.h"

#include <stdio.h>

static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

const char *qb_text_size_exact(uint64_t bytes, char out[QB_TEXT_NUMBER])
{
    unsigned unit = 0;

    for (; bytes && bytes % 1024 == 0; bytes /= 1024)
        unit++;
    snprintf(out, QB_TEXT_NUMBER, "%llu %s", (unsigned long long)bytes, units[unit]);
    return out;
}

const char *qb_text_size(uint64_t bytes, char out[QB_TEXT_NUMBER])
{
    unsigned unit = 0;

    while (unit < 6 && bytes >> (10 * (unit + 1)) > 0)
        unit++;
    if (bytes % (UINT64_C(1) << (10 * unit)) == 0) {
        snprintf(out, QB_TEXT_NUMBER, "%llu %s", (unsigned long long)(bytes >> (10 * unit)),
                 units[unit]);
    } else {
        double value = (double)bytes / (double)(UINT64_C(1) << (10 * unit));

        snprintf(out, QB_TEXT_NUMBER, "%.3g %s", value, units[unit]);
        if (value >= 999.5) /* %.3g would print 1e+03 */
            snprintf(out, QB_TEXT_NUMBER, "%.0f %s", value, units[unit]);
    }
    return out;
}
