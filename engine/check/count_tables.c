/* Counts what L2 tables refer to, on all threads that there are.
 *
 * A thread counts tables as far as they are plain (plain_entries.h), in counts of its own, which
 * are joined afterwards: neither sums nor marks depend on an order.  Where an entry is odd, or
 * memory is short, it leaves the rest of the table to the calling thread, which goes on there,
 * table by table.  So findings come in the order of the tables, however many threads there are. */
#include "base/own.h"
#include "check/plain_entries.h"
#include "image/each_cluster.h"

#define PAGE_MEMORY 1280u /* bytes that a page of counts takes at most, while counts fit a byte */
#define ALL_COUNTED UINT32_MAX /* or the table has nothing in the file */

struct hand {
    struct qb_plain_entries plain;
    struct qb_counts counts; /* of the first one: not used, it counts in the census's */
    uint64_t most;           /* bytes */
};

struct counting {
    struct qb_census *c;
    struct qb_each_cluster tables;
    unsigned n_hands, n_now; /* n_now: in the batch in progress */
    struct hand *hands;
    uint64_t table_memory; /* bytes that counting one table takes at most */
    size_t first;          /* of the batch in progress, and for each of its tables ... */
    uint32_t *stops;       /* ... the entry at which a thread stopped, ... */
    uint32_t *odd;         /* ... and those of which something is left */
    uint64_t held;         /* bytes, for both */
};

static uint64_t place_of_table(const void *list, size_t i)
{
    return ((const struct qb_tables *)list)->items[i].offset;
}

static int count_table(void *arg, unsigned who, size_t i, const uint8_t *table, struct qb_err *err)
{
    struct counting *n = arg;
    struct qb_census *c = n->c;
    struct hand *h = &n->hands[who];
    uint64_t stop = 0;

    if (n->n_now == 1)
        return qb_census_count_table(c, i, table, 0, err);
    if (h->plain.counts->memory + n->table_memory <= h->most &&
        qb_plain_count(&h->plain, &c->tables.items[i], table, 0, &c->notes[i], &stop, err) < 0)
        return -1;
    n->stops[i - n->first] = stop < c->img->geom.l2_entries ? (uint32_t)stop : ALL_COUNTED;
    return 0;
}

/* ---- what is left of tables ------------------------------------------------------------------ */

static uint64_t place_of_odd(const void *list, size_t i)
{
    const struct counting *n = list;

    return n->c->tables.items[n->first + n->odd[i]].offset;
}

static int count_odd(void *arg, unsigned who, size_t i, const uint8_t *table, struct qb_err *err)
{
    struct counting *n = arg;
    uint32_t at = n->odd[i];

    (void)who;
    return qb_census_count_table(n->c, n->first + at, table, n->stops[at], err);
}

static int join(struct counting *n, struct qb_err *err)
{
    for (unsigned i = 1; i < n->n_hands; i++)
        if (qb_counts_join(&n->c->counts, &n->hands[i].counts, err) < 0)
            return -1;
    return 0;
}

/* From now on the calling thread alone counts, and has all memory for that. */
static int go_alone(struct counting *n, struct qb_err *err)
{
    int r = join(n, err);

    for (unsigned i = 0; i < n->n_hands; i++)
        qb_census_meet(&n->c->first_compressed, n->hands[i].plain.first_compressed);
    n->n_hands = n->n_now = 1;
    free(qb_take(&n->stops));
    qb_counts_let_go(&n->c->counts, n->held);
    n->held = 0;
    return r;
}

static int count_rest(struct counting *n, size_t end, struct qb_err *err)
{
    struct qb_each_cluster odd = n->tables;

    odd.place = place_of_odd;
    odd.list = n;
    odd.fn = count_odd;
    odd.n = 0;
    for (size_t i = n->first; i < end; i++)
        if (n->stops[i - n->first] != ALL_COUNTED)
            n->odd[odd.n++] = (uint32_t)(i - n->first);
    if (odd.n == 0)
        return 0;
    return join(n, err) < 0 ? -1 : qb_each_cluster(&odd, 0, odd.n, 1, err);
}

/* ---- batches --------------------------------------------------------------------------------- */

static uint64_t memory_of_hands(const struct counting *n)
{
    uint64_t sum = 0;

    for (unsigned i = 1; i < n->n_hands; i++)
        sum += n->hands[i].counts.memory;
    return sum;
}

/* How many threads take part in the next batch.  Half of the memory that is left is for counts of
 * their own, *for_each of it for one. */
static unsigned hands_for(const struct counting *n, uint64_t *for_each)
{
    const struct qb_counts *counts = &n->c->counts;
    uint64_t used = counts->memory + memory_of_hands(n), own = qb_each_cluster_memory(&n->tables);
    uint64_t half = (counts->memory_limit - QB_MIN(used, counts->memory_limit)) / 2;
    unsigned hands = n->n_hands;

    while (hands > 1 && half / (hands - 1) < own + n->table_memory)
        hands--;
    *for_each = hands > 1 ? half / (hands - 1) : 0;
    return hands;
}

static int count_batch(struct counting *n, size_t end, struct qb_err *err)
{
    struct qb_counts *counts = &n->c->counts;
    uint64_t own = qb_each_cluster_memory(&n->tables), for_each, held;
    int r;

    n->n_now = hands_for(n, &for_each);
    if (n->n_now == 1 && n->n_hands > 1 && go_alone(n, err) < 0)
        return -1;
    if (n->n_now == 1)
        return qb_each_cluster(&n->tables, n->first, end, 1, err);
    held = for_each * (n->n_now - 1);
    if (qb_counts_hold(counts, held, err) < 0)
        return -1;
    n->hands[0].most = counts->memory_limit;
    for (unsigned i = 1; i < n->n_now; i++)
        n->hands[i].most = n->hands[i].counts.memory + for_each - own;
    for (size_t i = n->first; i < end; i++)
        n->stops[i - n->first] = ALL_COUNTED;
    r = qb_each_cluster(&n->tables, n->first, end, n->n_now, err);
    qb_counts_let_go(counts, held);
    if (r == 0 && memory_of_hands(n) > held / 2)
        r = join(n, err);
    return r < 0 ? -1 : count_rest(n, end, err);
}

static int count_batches(struct counting *n, struct qb_err *err)
{
    size_t batch = qb_each_cluster_batch(&n->tables), end;

    for (; n->first < n->tables.n; n->first = end) {
        if (qb_each_cluster_skip(&n->tables, &n->first, err) < 0)
            return -1;
        end = QB_MIN(n->first + batch, n->tables.n);
        if (count_batch(n, end, err) < 0)
            return -1;
    }
    return go_alone(n, err);
}

/* Threads are done without where what it takes to have them is more than a small part of the
 * memory.
 */
static int open_hands(struct counting *n, struct qb_err *err)
{
    struct qb_counts *counts = &n->c->counts;
    size_t batch = qb_min(qb_each_cluster_batch(&n->tables), n->tables.n);
    uint64_t bytes = n->n_hands * sizeof(*n->hands) + 2 * batch * sizeof(*n->stops);
    uint64_t left = counts->memory_limit - QB_MIN(counts->memory, counts->memory_limit);

    if (bytes > left / 8)
        n->n_hands = 1;
    n->hands = calloc(n->n_hands, sizeof(*n->hands));
    if (n->hands && n->n_hands > 1 && qb_counts_hold(counts, bytes, err) == 0) {
        n->held = bytes;
        n->stops = calloc(batch, 2 * sizeof(*n->stops));
        n->odd = n->stops ? n->stops + batch : NULL;
    }
    if (!n->hands || (n->n_hands > 1 && !n->stops))
        return qb_fail_memory(err);
    for (unsigned i = 0; i < n->n_hands; i++)
        n->hands[i].plain =
            (struct qb_plain_entries){n->c->img, i ? &n->hands[i].counts : counts, {0}};
    return 0;
}

static void close_hands(struct counting *n)
{
    for (unsigned i = 1; n->hands && i < n->n_hands; i++)
        qb_counts_free(&n->hands[i].counts);
    free(n->hands);
    free(n->stops);
}

int qb_census_count_tables(struct qb_io *io, struct qb_census *c, struct qb_err *err)
{
    const struct qb_image *img = c->img;
    uint64_t pages = img->file->size / img->geom.cluster_size / QB_PAGE_COUNTS + 2;
    struct counting n = {
        .c = c,
        .tables = {.io = io,
                   .file = img->file,
                   .cluster_size = img->geom.cluster_size,
                   .what = "an L2 table",
                   .place = place_of_table,
                   .list = &c->tables,
                   .n = c->tables.n,
                   .fn = count_table},
        .table_memory = QB_MIN(2 * img->geom.l2_entries, pages) * PAGE_MEMORY,
    };
    int r;

    n.tables.arg = &n;
    n.n_hands = qb_plain_knows(img) ? qb_each_cluster_hands(&n.tables) : 1;
    r = open_hands(&n, err);
    if (r == 0)
        r = count_batches(&n, err);
    close_hands(&n);
    return r;
}
