#include "base/stop.h"

#include <stdatomic.h>
#include <stdlib.h>

_Static_assert(ATOMIC_BOOL_LOCK_FREE == 2, "a signal handler may only touch what has no lock");

struct qb_stop {
    atomic_bool requested;
};

struct qb_stop *qb_stop_new(void)
{
    struct qb_stop *stop = malloc(sizeof(*stop));

    if (stop)
        atomic_init(&stop->requested, false);
    return stop;
}

void qb_stop_request(struct qb_stop *stop)
{
    atomic_store(&stop->requested, true);
}

bool qb_stop_requested(void *stop)
{
    return atomic_load(&((struct qb_stop *)stop)->requested);
}

void qb_stop_free(struct qb_stop *stop)
{
    free(stop);
}
