#include "base/vec.h"

#include <stdint.h>
#include <string.h>

bool qb_vec_room(void *items_pp, size_t n, size_t *cap, size_t item_size)
{
    void *old, *grown;
    size_t want;

    if (n < *cap)
        return true;
    want = *cap ? *cap * 2 : 8;
    if (want > SIZE_MAX / item_size)
        return false;
    memcpy(&old, items_pp, sizeof(old));
    grown = realloc(old, want * item_size);
    if (!grown)
        return false;
    memcpy(items_pp, &grown, sizeof(grown));
    *cap = want;
    return true;
}
