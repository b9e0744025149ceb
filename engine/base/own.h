/* Frees variables at the end of their scope.  Zero means empty, and *take* marks where ownership is
 * passed on:
 *
 *     QB_AUTO(qb_buf) void *p = NULL;      freed at the end of the scope
 *     out->p = qb_take(&p);                now the caller's */
#ifndef QB_BASE_OWN_H
#define QB_BASE_OWN_H

#include <stdlib.h>

#define QB_AUTO(fn) __attribute__((cleanup(fn)))

/* A cleanup for any pointer that came from malloc. */
static inline void qb_buf(void *pointer_to_pointer)
{
    void **p = pointer_to_pointer;

    free(*p);
    *p = NULL;
}

#define qb_take(pp)                                                                                \
    __extension__({                                                                                \
        __typeof__(*(pp)) taken_ = *(pp);                                                          \
        *(pp) = NULL;                                                                              \
        taken_;                                                                                    \
    })

#endif
