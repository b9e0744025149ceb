#include "base/num.h"

#include <string.h>
#include <sys/auxv.h>

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
    /* The kernel gives every process 16 random bytes; asking for more costs a call each time. */
    const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
    uint64_t n = 0x9e3779b97f4a7c15ull;

    if (random)
        memcpy(&n, random, sizeof(n));
    return n | 1;
}
