/* Computes fingerprints of bytes: 128 bits, fast, not cryptographic.  They detect accidental
 * changes, not collisions made on purpose.  Only digest.c knows which hash it is. */
#ifndef QB_BASE_DIGEST_H
#define QB_BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qb_digest {
    uint64_t low, high; /* both 0: nothing was fingerprinted */
};

static inline bool qb_digest_equal(struct qb_digest a, struct qb_digest b)
{
    return a.low == b.low && a.high == b.high;
}

static inline bool qb_digest_is_empty(struct qb_digest d)
{
    return d.low == 0 && d.high == 0;
}

struct qb_digest qb_digest_of(const void *bytes, size_t n);

/* A digest of bytes that are added in parts. */
struct qb_hasher;
struct qb_hasher *qb_hasher_new(void); /* NULL when memory is short */
void qb_hasher_free(struct qb_hasher *h);
void qb_hasher_reset(struct qb_hasher *h);
void qb_hasher_add(struct qb_hasher *h, const void *bytes, size_t n);
struct qb_digest qb_hasher_end(const struct qb_hasher *h);

unsigned qb_digest_version(void); /* of xxHash: 801 is 0.8.1 */

#endif
