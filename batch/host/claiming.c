#include "host/claiming.h"

#include "base/num.h"

struct shares {
    const struct qb_claiming *claiming;
    size_t each; /* images of a share */
};

static void claim_share(void *arg, struct qb_io *io, size_t share)
{
    const struct shares *s = arg;
    const struct qb_claiming *c = s->claiming;
    size_t first = share * s->each, end = QB_MIN(first + s->each, c->n), n = 0;
    struct qb_to_claim images[QB_PARCEL_FILES];
    size_t of[QB_PARCEL_FILES];

    for (size_t i = first; i < end; i++)
        if (c->wants(c->arg, i, &images[n]))
            of[n++] = i;
    if (n > 0)
        qb_opener_claim(io, QB_OPENING_CLAIM, images, n);
    for (size_t i = 0; i < n; i++) {
        c->take(c->arg, io, of[i], &images[i].file);
        qb_file_close(&images[i].file);
    }
}

void qb_claim_many(struct qb_sched *sched, const struct qb_claiming *claiming)
{
    size_t shares = qb_max(qb_sched_workers(sched), qb_div_up(claiming->n, QB_PARCEL_FILES));
    struct shares s = {claiming, qb_div_up(claiming->n, shares)};

    qb_sched_each(sched, qb_div_up(claiming->n, s.each), claim_share, &s);
}
