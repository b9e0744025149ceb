/* Makes the order of a rollout: by key, each backing file before the first of its overlays. */
#include <stdlib.h>

#include "base/own.h"
#include "rollout/draw.h"

struct ranked {
    uint64_t key;
    uint32_t job;
};

struct ordering {
    const uint32_t *parents;
    struct ranked *ranked;
    uint8_t *seen; /* of each job: PLACED, IS_PARENT */
    uint32_t *chain, *out;
    size_t n; /* of out */
};

enum { PLACED = 1, IS_PARENT = 2 };

static int by_key(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->job < y->job ? -1 : 1;
}

/* The job, and before it what it is based on, as far as that is not placed.  A loop ends where it
 * comes back to a job that is marked. */
static void place(struct ordering *o, uint32_t job)
{
    size_t n = 0;

    for (; job != QB_NO_PARENT && !(o->seen[job] & PLACED); job = o->parents[job]) {
        o->seen[job] |= PLACED;
        o->chain[n++] = job;
    }
    while (n-- > 0)
        o->out[o->n++] = o->chain[n] | (n > 0 ? QB_DRAW_ALONG : 0);
}

static void place_all(struct ordering *o, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(o->seen[o->ranked[i].job] & IS_PARENT))
            place(o, o->ranked[i].job);
    for (size_t i = 0; i < n; i++) /* what only a loop leads to */
        place(o, o->ranked[i].job);
}

uint32_t *qb_draw_order(size_t n, const uint64_t *keys, const uint32_t *parents)
{
    QB_AUTO(qb_buf) struct ranked *ranked = malloc((n + 1) * sizeof(*ranked));
    QB_AUTO(qb_buf) uint8_t *seen = calloc(n + 1, sizeof(*seen));
    QB_AUTO(qb_buf) uint32_t *chain = malloc((n + 1) * sizeof(*chain));
    QB_AUTO(qb_buf) uint32_t *out = malloc((n + 1) * sizeof(*out));
    struct ordering o = {
        .parents = parents, .ranked = ranked, .seen = seen, .chain = chain, .out = out};

    if (!ranked || !seen || !chain || !out)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        ranked[i] = (struct ranked){keys[i], (uint32_t)i};
        if (parents[i] != QB_NO_PARENT)
            seen[parents[i]] |= IS_PARENT;
    }
    qsort(ranked, n, sizeof(*ranked), by_key);
    place_all(&o, n);
    return qb_take(&out);
}
