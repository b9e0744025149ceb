/* Defines a growable array: QB_VEC(type) is {items, n, cap}, all zero when empty.  Pointers into
 * `items` are valid only until the next push. */
#ifndef QB_BASE_VEC_H
#define QB_BASE_VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#define QB_VEC(type)                                                                               \
    struct {                                                                                       \
        type *items;                                                                               \
        size_t n;                                                                                  \
        size_t cap;                                                                                \
    }

/* Makes space for one more item; false when memory is short (the vector is then unchanged). */
bool qb_vec_room(void *items_pp, size_t n, size_t *cap, size_t item_size);

/* Appends one item: true, or false when memory is short. */
#define qb_vec_push(v, ...)                                                                        \
    (qb_vec_room(&(v)->items, (v)->n, &(v)->cap, sizeof(*(v)->items)) &&                           \
     ((v)->items[(v)->n++] = (__VA_ARGS__), true))

#define qb_vec_free(v)                                                                             \
    do {                                                                                           \
        free((v)->items);                                                                          \
        (v)->items = NULL;                                                                         \
        (v)->n = (v)->cap = 0;                                                                     \
    } while (0)

#define qb_vec_each(it, v)                                                                         \
    for (__typeof__(&*(v)->items) it = (v)->items; it && it < (v)->items + (v)->n; it++)

#endif
