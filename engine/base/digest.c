#include "base/digest.h"

#include <xxhash.h>

static struct qb_digest digest_from(XXH128_hash_t h)
{
    return (struct qb_digest){h.low64, h.high64};
}

struct qb_digest qb_digest_of(const void *bytes, size_t n)
{
    return digest_from(XXH3_128bits(bytes, n));
}

struct qb_hasher *qb_hasher_new(void)
{
    return (struct qb_hasher *)XXH3_createState();
}

void qb_hasher_free(struct qb_hasher *h)
{
    XXH3_freeState((XXH3_state_t *)h);
}

void qb_hasher_reset(struct qb_hasher *h)
{
    XXH3_128bits_reset((XXH3_state_t *)h);
}

void qb_hasher_add(struct qb_hasher *h, const void *bytes, size_t n)
{
    XXH3_128bits_update((XXH3_state_t *)h, bytes, n);
}

struct qb_digest qb_hasher_end(const struct qb_hasher *h)
{
    return digest_from(XXH3_128bits_digest((const XXH3_state_t *)h));
}

unsigned qb_digest_version(void)
{
    return XXH_versionNumber();
}
