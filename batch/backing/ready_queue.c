#include "backing/ready_queue.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/vec.h"

enum state { FRESH, WAITS, TAKEN, DONE };

struct entry {
    double not_before;
    uint32_t after; /* a job, or NOBODY */
    uint8_t state;
    uint8_t crowded; /* how often it found no room */
    bool must, alone;
    bool wants_all; /* the room of all others */
};

enum { CROWDED_MAX = 3 }; /* times; then it waits until it has all the room that there is */

#define NOBODY UINT32_MAX

struct qb_queue {
    size_t n, cursor;  /* every fresh job is at or after the cursor */
    uint32_t *waiting; /* jobs, those to be looked at first in front; room for all of them */
    size_t n_waiting;
    size_t n_taken;   /* and not returned or done */
    bool alone_taken; /* one of them runs alone, or with all the room */
    struct entry entries[];
};

struct qb_queue *qb_queue_new(size_t n_jobs)
{
    struct qb_queue *q =
        n_jobs < NOBODY ? calloc(1, sizeof(*q) + n_jobs * sizeof(q->entries[0])) : NULL;

    if (!q || !(q->waiting = malloc((n_jobs + 1) * sizeof(q->waiting[0])))) {
        free(q);
        return NULL;
    }
    q->n = n_jobs;
    for (size_t i = 0; i < n_jobs; i++)
        q->entries[i].after = NOBODY;
    return q;
}

void qb_queue_free(struct qb_queue *q)
{
    if (q)
        free(q->waiting);
    free(q);
}

static bool is_ready(const struct qb_queue *q, const struct entry *e, double now)
{
    return e->not_before <= now && (e->after == NOBODY || q->entries[e->after].state == DONE);
}

static void take(struct qb_queue *q, uint32_t job, size_t *out, size_t *n)
{
    struct entry *e = &q->entries[job];

    e->state = TAKEN;
    e->after = NOBODY;
    q->n_taken++;
    q->alone_taken = e->alone || e->wants_all;
    out[(*n)++] = job;
}

static void put(struct qb_queue *q, size_t job, enum state state)
{
    q->n_taken -= q->entries[job].state == TAKEN;
    q->alone_taken &= q->n_taken > 0;
    q->entries[job].state = (uint8_t)state;
}

size_t qb_queue_take_waiting(struct qb_queue *q, double now, size_t most, size_t *out)
{
    size_t n = 0, kept = 0;

    for (size_t i = 0; i < q->n_waiting; i++) {
        const struct entry *e = &q->entries[q->waiting[i]];
        bool free = !q->alone_taken && (!(e->alone || e->wants_all) || q->n_taken == 0);

        if (n < most && free && is_ready(q, e, now))
            take(q, q->waiting[i], out, &n);
        else
            q->waiting[kept++] = q->waiting[i];
    }
    q->n_waiting = kept;
    return n;
}

size_t qb_queue_take(struct qb_queue *q, double now, size_t most, size_t *out)
{
    size_t n = qb_queue_take_waiting(q, now, most, out);

    for (; n < most && !q->alone_taken && q->cursor < q->n; q->cursor++)
        if (q->entries[q->cursor].state == FRESH)
            take(q, (uint32_t)q->cursor, out, &n);
    return n;
}

bool qb_queue_take_fresh(struct qb_queue *q, size_t job, size_t *out, size_t *n)
{
    if (q->alone_taken)
        return false;
    take(q, (uint32_t)job, out, n);
    return true;
}

bool qb_queue_is_fresh(const struct qb_queue *q, size_t job)
{
    return q->entries[job].state == FRESH;
}

void qb_queue_done(struct qb_queue *q, size_t job)
{
    put(q, job, DONE);
}

static void wait(struct qb_queue *q, size_t job, double not_before, uint32_t after)
{
    struct entry *e = &q->entries[job];

    put(q, job, WAITS);
    e->not_before = not_before;
    e->after = after;
    q->waiting[q->n_waiting++] = (uint32_t)job;
}

void qb_queue_again(struct qb_queue *q, size_t job, double not_before)
{
    wait(q, job, not_before, NOBODY);
}

void qb_queue_crowded(struct qb_queue *q, size_t job, bool alone)
{
    struct entry *e = &q->entries[job];

    e->crowded++;
    e->wants_all |= alone || e->crowded >= CROWDED_MAX;
    wait(q, job, 0, NOBODY);
}

bool qb_queue_has_all_room(const struct qb_queue *q, size_t job)
{
    return q->entries[job].wants_all;
}

void qb_queue_after(struct qb_queue *q, size_t job, size_t other, bool must)
{
    wait(q, job, 0, (uint32_t)other);
    q->entries[job].must = must;
    if (q->entries[other].state == FRESH) /* else it is on its way already */
        wait(q, other, 0, NOBODY);
}

bool qb_queue_is_done(const struct qb_queue *q, size_t job)
{
    return q->entries[job].state == DONE;
}

bool qb_queue_is_alone(const struct qb_queue *q, size_t job)
{
    return q->entries[job].alone;
}

double qb_queue_wakes(const struct qb_queue *q)
{
    double first = -1;

    for (size_t i = 0; i < q->n_waiting; i++) {
        const struct entry *e = &q->entries[q->waiting[i]];

        if (e->after == NOBODY && (first < 0 || e->not_before < first))
            first = e->not_before;
    }
    return first;
}

/* A job of the circle that the first waiting job leads into: after n steps one is inside. */
static size_t in_circle(const struct qb_queue *q)
{
    size_t job = q->waiting[0];

    for (size_t i = 0; i < q->n_waiting; i++)
        job = q->entries[job].after;
    return job;
}

static void forget_taken(struct qb_queue *q)
{
    size_t kept = 0;

    for (size_t i = 0; i < q->n_waiting; i++)
        if (q->entries[q->waiting[i]].state == WAITS)
            q->waiting[kept++] = q->waiting[i];
    q->n_waiting = kept;
}

void qb_queue_drop(struct qb_queue *q, size_t job)
{
    put(q, job, DONE);
    forget_taken(q);
}

size_t qb_queue_untangle(struct qb_queue *q, size_t most, size_t *out)
{
    size_t first, job, n = 0;

    if (q->n_waiting == 0)
        return 0;
    job = first = in_circle(q);
    do {
        if (!q->entries[job].must) {
            q->entries[job].alone = true;
            q->entries[job].after = NOBODY;
            return 0;
        }
        job = q->entries[job].after;
    } while (job != first);
    do {
        size_t next = q->entries[job].after;

        take(q, (uint32_t)job, out, &n);
        job = next;
    } while (job != first && n < most);
    forget_taken(q);
    return n;
}
