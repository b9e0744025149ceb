#include "fuzz.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t fuzz_take(struct fuzz_input *in, unsigned bytes)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < bytes && in->left; i++, in->left--)
        n |= (uint64_t)*in->data++ << (8 * i);
    return n;
}

uint8_t *fuzz_copy_rest(const struct fuzz_input *in)
{
    uint8_t *copy = malloc(in->left ? in->left : 1);

    FUZZ_HOLDS(copy, "out of memory");
    if (in->left)
        memcpy(copy, in->data, in->left);
    return copy;
}

void fuzz_broken(const char *fmt, ...)
{
    va_list ap;

    fputs("broken promise: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}
