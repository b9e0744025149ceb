#include "base/num.h"

#include <string.h>

bool qb_all_zero(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    if (n == 0)
        return true;
    /* A buffer equals itself moved by one byte only if every byte is the first one. */
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}
