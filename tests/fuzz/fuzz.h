/* What the fuzz targets share: small reads off the input, and a complaint that ends the process, so
 * that a broken promise is a finding like a crash. */
#ifndef QB_TESTS_FUZZ_H
#define QB_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input, taken from the front; all zeros once it is used up. */
struct fuzz_input {
    const uint8_t *data;
    size_t left;
};

uint64_t fuzz_take(struct fuzz_input *in, unsigned bytes); /* little-endian, at most 8 */

/* A copy of the rest in a block of exactly its size, so that a read behind it is seen. */
uint8_t *fuzz_copy_rest(const struct fuzz_input *in);

/* Prints the sentence and aborts. */
void fuzz_broken(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#define FUZZ_HOLDS(condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fuzz_broken(__VA_ARGS__);                                                              \
    } while (0)

#endif
