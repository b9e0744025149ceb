#include "base/num.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

bool qb_all_zero(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    if (n == 0)
        return true;
    /* A buffer equals itself moved by one byte only if every byte is the first one. */
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

uint64_t qb_hash_multiplier(void)
{
    struct timespec now;
    uint64_t n;

    if (getrandom(&n, sizeof(n), GRND_NONBLOCK) != sizeof(n)) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        n = (uint64_t)(uintptr_t)&now ^ (uint64_t)now.tv_nsec << 20;
        n *= 0x9e3779b97f4a7c15ull;
    }
    return n | 1;
}
