/* Finds items of a list by key: a hash table (open addressing) of places in a list that its owner
 * has.  The owner compares, and says what an item's key is; items that are equal have equal keys.
 *
 *     struct qb_probe p = qb_index_probe(&ix, key);
 *     while (qb_index_next(&ix, &p))
 *         if (list.items[p.item].path ... is the one that is looked for)
 *             return &list.items[p.item];
 *
 *     if (!qb_index_room(&ix, 1) || !qb_vec_push(&list, item))
 *         return out of memory;
 *     qb_index_add(&ix, key, list.n - 1);
 *
 * All zero is empty.  Nothing is ever taken out but all at once. */
#ifndef QB_BASE_INDEX_H
#define QB_BASE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qb_index_slot {
    uint32_t hash; /* the upper half of key * multiplier: what decides the slot */
    uint32_t item; /* its place in the list + 1; 0: empty */
};

struct qb_index {
    struct qb_index_slot *slots; /* owned; at most half of them are used */
    size_t mask;                 /* of slots - 1: their number is a power of two */
    unsigned shift;              /* slot = hash >> shift */
    size_t n;                    /* items in it */
    uint64_t multiplier;         /* random and odd: a hostile image cannot choose the slots */
};

/* Makes room for `more` items; false when memory is short: it is then as it was. */
bool qb_index_room(struct qb_index *ix, size_t more);

/* The bytes that one more item would have allocated, and the ones that are allocated now, which
 * would then be freed; 0 where there is room for it. */
size_t qb_index_wants(const struct qb_index *ix);
size_t qb_index_memory(const struct qb_index *ix);

/* Adds an item, for which there is room.  Of several with one key the first added is found first.
 */
void qb_index_add(struct qb_index *ix, uint64_t key, size_t item);

void qb_index_clear(struct qb_index *ix); /* forgets all items, and keeps its memory */
void qb_index_free(struct qb_index *ix);

/* Keys that are not numbers: texts, files. */
uint64_t qb_key_of_text(const char *text);
static inline uint64_t qb_key_of_file(uint64_t dev, uint64_t ino)
{
    return ino ^ dev << 40;
}

/* ---- looking up ------------------------------------------------------------------------------ */

struct qb_probe {
    uint32_t hash;
    size_t at;   /* the slot that is looked at next */
    size_t item; /* that was found */
};

static inline struct qb_probe qb_index_probe(const struct qb_index *ix, uint64_t key)
{
    uint32_t hash = (uint32_t)(key * ix->multiplier >> 32);

    return (struct qb_probe){.hash = hash, .at = hash >> ix->shift};
}

/* The next item that may have the key, in p->item; false after the last. */
static inline bool qb_index_next(const struct qb_index *ix, struct qb_probe *p)
{
    struct qb_index_slot slot;

    if (!ix->slots)
        return false;
    do {
        slot = ix->slots[p->at];
        p->at = (p->at + 1) & ix->mask;
    } while (slot.item && slot.hash != p->hash);
    p->item = (size_t)slot.item - 1;
    return slot.item != 0;
}

#endif
