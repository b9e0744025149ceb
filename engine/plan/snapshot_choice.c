#include "plan/snapshot_choice.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/wildcard.h"

#define NS UINT64_C(1000000000)

struct candidate {
    uint64_t date;  /* ns since 1970 */
    uint32_t index; /* in the snapshot table */
};

struct qb_snapshot_name qb_snapshot_name(const struct qb_snapshot *s)
{
    const char *id = (const char *)s->raw + sizeof(struct qb_disk_snapshot) + s->extra_len;

    if (s->name_len)
        return (struct qb_snapshot_name){id + s->id_len, s->name_len};
    return (struct qb_snapshot_name){id, s->id_len};
}

uint64_t qb_snapshot_date(const struct qb_snapshot *s)
{
    struct qb_disk_snapshot d;

    memcpy(&d, s->raw, sizeof(d));
    return be32_get(d.date_sec) * NS + be32_get(d.date_nsec);
}

/* As for `qemu-img snapshot -d`, a name is not an ID: a snapshot may be called "2". */
static bool matches(const struct qb_name_list *patterns, const struct qb_snapshot *s)
{
    struct qb_snapshot_name name = qb_snapshot_name(s);

    for (size_t i = 0; i < patterns->n; i++)
        if (qb_wildcard_match(patterns->items[i], name.text, name.len))
            return true;
    return patterns->n == 0;
}

/* Of two that were made at the same time, the one further behind in the table is the newer one. */
static int by_age(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->date != y->date)
        return x->date < y->date ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Snapshots of before this moment are old enough, ns since 1970. */
static uint64_t old_before(const struct qb_request *rq)
{
    double age = rq->snapshots_older_than * (double)NS;
    uint64_t now = rq->now ? rq->now : (uint64_t)time(NULL);

    if (rq->snapshots_older_than == 0)
        return UINT64_MAX;
    return age < (double)(now * NS) ? now * NS - (uint64_t)age : 0;
}

static int check_request(const struct qb_request *rq, struct qb_err *err)
{
    bool some = rq->snapshots_delete.n || rq->snapshots_older_than || rq->snapshots_keep_newest;

    if (some && rq->snapshots_older_than >= 0)
        return 0;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   some ? "snapshots: older_than is less than 0"
                        : "snapshots needs one of delete, older_than and keep_newest");
}

static uint32_t list_candidates(const struct qb_image *img, const struct qb_request *rq,
                                struct candidate *list)
{
    uint32_t n = 0;

    for (size_t i = 0; i < img->snapshots.list.n; i++) {
        const struct qb_snapshot *s = &img->snapshots.list.items[i];

        if (matches(&rq->snapshots_delete, s))
            list[n++] = (struct candidate){qb_snapshot_date(s), (uint32_t)i};
    }
    qsort(list, n, sizeof(*list), by_age);
    return n - (uint32_t)QB_MIN(rq->snapshots_keep_newest, n);
}

int qb_snapshots_choose(const struct qb_image *img, const struct qb_request *rq, uint8_t **deleted,
                        uint32_t *n, struct qb_err *err)
{
    size_t all = img->snapshots.list.n;
    QB_AUTO(qb_buf) struct candidate *list = NULL;
    uint64_t before = old_before(rq);
    uint32_t candidates;

    *deleted = NULL;
    *n = 0;
    if (check_request(rq, err) < 0)
        return -1;
    if (all == 0)
        return 0;
    if (rq->memory_limit && all * (sizeof(*list) + 1) + qb_image_memory(img) > rq->memory_limit)
        return qb_fail(err, QB_E_MEMORY, QB_NOWHERE,
                       "choosing among %zu snapshots takes more than limits.memory", all);
    list = calloc(all, sizeof(*list));
    *deleted = calloc(all, 1);
    if (!list || !*deleted) {
        free(qb_take(deleted));
        return qb_fail_memory(err);
    }
    candidates = list_candidates(img, rq, list);
    while (*n < candidates && list[*n].date < before)
        (*deleted)[list[(*n)++].index] = 1;
    if (*n == 0)
        free(qb_take(deleted));
    return 0;
}
