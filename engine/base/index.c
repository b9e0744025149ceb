#include "base/index.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"

#define LEAST ((size_t)64) /* slots */
#define MOST  ((size_t)1 << 31)

/* Slots of a table that is at most half full with so many items; 0: as it is. */
static size_t slots_for(const struct qb_index *ix, size_t n)
{
    size_t have = ix->slots ? ix->mask + 1 : 0, slots = have ? have : LEAST;

    while (n > slots / 2 && slots <= MOST)
        slots *= 2;
    return slots == have ? 0 : slots;
}

size_t qb_index_wants(const struct qb_index *ix)
{
    return slots_for(ix, ix->n + 1) * sizeof(*ix->slots);
}

size_t qb_index_memory(const struct qb_index *ix)
{
    return ix->slots ? (ix->mask + 1) * sizeof(*ix->slots) : 0;
}

static void put(struct qb_index *ix, struct qb_index_slot slot)
{
    size_t at = slot.hash >> ix->shift;

    while (ix->slots[at].item)
        at = (at + 1) & ix->mask;
    ix->slots[at] = slot;
}

/* The old slots go over in an order that keeps equal keys in theirs: behind an empty one, so that
 * no run of used ones is taken up in its middle. */
static void move(struct qb_index *ix, const struct qb_index_slot *old, size_t n)
{
    size_t first = 0;

    while (first < n && old[first].item)
        first++;
    for (size_t i = 0; i < n; i++)
        if (old[(first + i) & (n - 1)].item)
            put(ix, old[(first + i) & (n - 1)]);
}

bool qb_index_room(struct qb_index *ix, size_t more)
{
    size_t n = slots_for(ix, ix->n + more);
    struct qb_index old = *ix;

    if (n == 0)
        return true;
    if (n > MOST)
        return false;
    ix->slots = calloc(n, sizeof(*ix->slots));
    if (!ix->slots) {
        ix->slots = old.slots;
        return false;
    }
    ix->mask = n - 1;
    ix->shift = 32 - (unsigned)__builtin_ctzll(n);
    if (old.slots)
        move(ix, old.slots, old.mask + 1);
    else
        ix->multiplier = qb_hash_multiplier();
    free(old.slots);
    return true;
}

void qb_index_add(struct qb_index *ix, uint64_t key, size_t item)
{
    uint32_t hash = (uint32_t)(key * ix->multiplier >> 32);

    put(ix, (struct qb_index_slot){hash, (uint32_t)item + 1});
    ix->n++;
}

void qb_index_clear(struct qb_index *ix)
{
    if (ix->slots)
        memset(ix->slots, 0, qb_index_memory(ix));
    ix->n = 0;
}

void qb_index_free(struct qb_index *ix)
{
    free(ix->slots);
    *ix = (struct qb_index){0};
}

uint64_t qb_key_of_text(const char *text)
{
    uint64_t h = 0xcbf29ce484222325ull; /* FNV-1a */

    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3ull;
    return h;
}
