#include "shard/shard.h"

#include <stdio.h>
#include <string.h>

const char *qb_shard_text(struct qb_shard shard, char out[QB_SHARD_TEXT])
{
    out[0] = '\0';
    if (shard.of)
        snprintf(out, QB_SHARD_TEXT, "%u/%u", shard.number, shard.of);
    return out;
}

/* ---- which shard has a name ------------------------------------------------------------------ */

/* The last step of splitmix64: every bit of the result depends on every bit of x. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* FNV-1a. */
uint64_t qb_shard_hash(const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return mix(h);
}

static uint64_t weight(uint64_t hash, unsigned number)
{
    return mix(hash + number * UINT64_C(0x9e3779b97f4a7c15));
}

unsigned qb_shard_of(uint64_t hash, unsigned of)
{
    uint64_t best = weight(hash, 1);
    unsigned number = 1;

    for (unsigned k = 2; k <= of; k++) {
        uint64_t w = weight(hash, k);

        if (w > best) {
            best = w;
            number = k;
        }
    }
    return number;
}

bool qb_shard_has(struct qb_shard shard, uint64_t hash)
{
    uint64_t own = weight(hash, shard.number);

    for (unsigned k = 1; k <= shard.of; k++) {
        uint64_t w = weight(hash, k);

        if (w > own || (w == own && k < shard.number))
            return false;
    }
    return true;
}

/* ---- bases ----------------------------------------------------------------------------------- */

/* Of a loop, the same one whichever of its images is asked about. */
static size_t root_of_loop(const uint64_t *hashes, const size_t *base, size_t at)
{
    size_t root = at;

    for (size_t i = base[at]; i != at; i = base[i])
        if (hashes[i] < hashes[root] || (hashes[i] == hashes[root] && i < root))
            root = i;
    return root;
}

/* The lowest image of a chain.  An image that is met again is in a loop: it is compared with one
 * that was passed 1, 2, 4 ... steps ago, so that a loop costs no more than its length. */
static size_t root_of(const uint64_t *hashes, const size_t *base, size_t i)
{
    size_t passed = i, steps = 0, most = 1;

    while (base[i] != QB_SHARD_ALONE) {
        i = base[i];
        if (i == passed)
            return root_of_loop(hashes, base, i);
        if (++steps == most) {
            passed = i;
            steps = 0;
            most *= 2;
        }
    }
    return i;
}

/* Each image above it names the root from now on, so that no step is taken twice. */
static void shorten(size_t *base, size_t i, size_t root)
{
    while (i != root && base[i] != QB_SHARD_ALONE) {
        size_t below = base[i];

        base[i] = root;
        i = below;
    }
    base[root] = QB_SHARD_ALONE;
}

void qb_shard_divide(struct qb_shard shard, size_t n, const uint64_t *hashes, size_t *base,
                     bool *mine)
{
    for (size_t i = 0; i < n; i++) {
        size_t root = root_of(hashes, base, i);

        shorten(base, i, root);
        mine[i] = qb_shard_has(shard, hashes[root]);
    }
}
