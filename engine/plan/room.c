#include "plan/room.h"

#define PAGES_AT_ONCE 64u

void qb_room_free(struct qb_room *r)
{
    qb_vec_free(&r->runs);
    qb_vec_free(&r->takes);
}

static bool is_free(const struct qb_count_page *p, unsigned i)
{
    return qb_page_count(p, i) == 0 && qb_page_marks(p, i) == 0;
}

/* Free clusters, which follow all that are known.  A run of which nothing is left stays so: it may
 * have been passed. */
static int add_run(struct qb_room *r, uint64_t first, uint64_t end, struct qb_err *err)
{
    struct qb_range *last = r->runs.n ? &r->runs.items[r->runs.n - 1] : NULL;

    if (first >= end)
        return 0;
    if (last && last->end == first && last->first < last->end) {
        last->end = end;
        return 0;
    }
    return qb_counts_push(r->counts, &r->runs, err, (struct qb_range){first, end});
}

/* The clusters [r->looked, end), all of one page. */
static int look_at_page(struct qb_room *r, const struct qb_count_page *p, uint64_t end,
                        struct qb_err *err)
{
    uint64_t at = r->looked, stop;

    if (qb_io_go_on(r->io, err) < 0)
        return -1;
    for (; at < end; at = stop) {
        bool free = is_free(p, at % QB_PAGE_COUNTS);

        stop = p->cells ? at + 1 : end;
        while (stop < end && is_free(p, stop % QB_PAGE_COUNTS) == free)
            stop++;
        if (free && add_run(r, at, stop, err) < 0)
            return -1;
    }
    r->looked = end;
    return 0;
}

/* Looks at some more pages, and at the clusters between them, which nothing counts.  Sets *more
 * to whether there were any. */
static int look_on(struct qb_room *r, bool *more, struct qb_err *err)
{
    *more = r->looked < r->end;
    for (unsigned i = 0; i < PAGES_AT_ONCE && r->looked < r->end; i++) {
        uint64_t counted = qb_min(qb_counts_next(r->counts, r->looked), r->end);
        uint64_t end = QB_MIN(counted / QB_PAGE_COUNTS * QB_PAGE_COUNTS + QB_PAGE_COUNTS, r->end);

        if (add_run(r, r->looked, counted, err) < 0)
            return -1;
        r->looked = counted;
        if (counted < r->end && look_at_page(r, qb_counts_page(r->counts, counted), end, err) < 0)
            return -1;
    }
    return 0;
}

/* The first run from `next` of the class on that has n clusters or more: 1, 0 or -1. */
static int find(struct qb_room *r, uint64_t n, struct qb_range **run, struct qb_err *err)
{
    size_t *next = &r->at.next[63 - __builtin_clzll(n)];
    bool more = true;

    while (more) {
        for (; *next < r->runs.n; ++*next) {
            *run = &r->runs.items[*next];
            if ((*run)->end - (*run)->first >= n)
                return 1;
        }
        if (look_on(r, &more, err) < 0)
            return -1;
    }
    return 0;
}

static int take(struct qb_room *r, struct qb_range *run, uint64_t n, struct qb_err *err)
{
    struct qb_room_take t = {run->first, n, (size_t)(run - r->runs.items)};
    const struct qb_room_take *last = r->takes.n ? &r->takes.items[r->takes.n - 1] : NULL;
    bool adjacent = last && last->first + last->n == t.first;

    if (!adjacent && r->at.n_extents >= r->max_extents)
        return 0;
    if (qb_counts_push(r->counts, &r->takes, err, t) < 0)
        return -1;
    r->at.n_extents += !adjacent;
    r->at.n_takes++;
    run->first += n;
    return 1;
}

int qb_room_take(struct qb_room *r, uint64_t n, uint64_t *first, struct qb_err *err)
{
    struct qb_range *run = NULL;
    int found = r->end && n ? find(r, n, &run, err) : 0;

    if (found <= 0)
        return found;
    *first = run->first;
    return take(r, run, n, err);
}

int qb_room_take_some(struct qb_room *r, uint64_t want, uint64_t *first, uint64_t *n,
                      struct qb_err *err)
{
    struct qb_range *run = NULL;
    int found = r->end && want ? find(r, 1, &run, err) : 0;

    if (found <= 0)
        return found;
    *first = run->first;
    *n = QB_MIN(want, run->end - run->first);
    return take(r, run, *n, err);
}

void qb_room_put_back(struct qb_room *r, const struct qb_room_mark *mark)
{
    while (r->takes.n > mark->n_takes) {
        const struct qb_room_take *t = &r->takes.items[--r->takes.n];

        r->runs.items[t->run].first -= t->n;
    }
    r->at = *mark;
}
