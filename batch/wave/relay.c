#include "wave/relay.h"

#include <stdlib.h>

#include "base/own.h"
#include "wave/wave.h"

struct qb_held *qb_held_begin(const struct qb_relay *relay, size_t job)
{
    for (size_t i = 0; relay && i < QB_HELD_MAX; i++) {
        struct qb_held *h = &relay->held[(job + i) % QB_HELD_MAX];

        if (atomic_load(&h->job))
            continue;
        atomic_store(&h->phase, QB_HELD_BEGUN);
        h->amended = h->may_be_amended = false;
        atomic_store(&h->job, job + 1);
        return h;
    }
    return NULL;
}

void qb_held_plans(struct qb_held *h, const struct qb_amend *amend, bool again)
{
    struct qb_amend_facts facts;
    const struct qb_file *file;

    if (!h)
        return;
    facts = qb_amend_facts(amend);
    file = qb_amend_file((struct qb_amend *)(uintptr_t)amend);
    h->appends = qb_amend_appends(amend);
    h->cuts_data = facts.cuts_data;
    h->amended = h->amended || again;
    h->length = facts.old_length;
    h->virtual_size = qb_amend_result((struct qb_amend *)(uintptr_t)amend)->after->virtual_size;
    h->dev = file->dev;
    h->ino = file->ino;
    atomic_store(&h->phase, QB_HELD_PLANNED);
}

void qb_held_flips(struct qb_held *h, const struct qb_amend *amend)
{
    struct qb_amend_facts facts;

    if (!h)
        return;
    facts = qb_amend_facts(amend);
    h->old_sector = qb_digest_of(facts.old_sector, QB_SECTOR);
    h->new_sector = qb_digest_of(facts.new_sector, QB_SECTOR);
    atomic_store(&h->phase, QB_HELD_FLIPS);
}

void qb_held_swaps(struct qb_held *h, const struct qb_file *file,
                   const uint8_t from[QB_RESULT_SECTOR], const uint8_t to[QB_RESULT_SECTOR])
{
    if (!h)
        return;
    h->appends = h->cuts_data = false;
    h->dev = file->dev;
    h->ino = file->ino;
    h->old_sector = qb_digest_of(from, QB_SECTOR);
    h->new_sector = qb_digest_of(to, QB_SECTOR);
    atomic_store(&h->phase, QB_HELD_FLIPS);
}

void qb_held_end(struct qb_held *h)
{
    if (h)
        atomic_store(&h->job, 0);
}

static void put_first(struct qb_suspected *s, const struct qb_batch *batch, struct qb_queue *queue,
                      enum qb_suspect which)
{
    for (size_t i = 0; i < batch->n_jobs; i++) {
        if (batch->jobs[i].suspect != which || qb_queue_is_done(queue, i))
            continue;
        qb_queue_again(queue, i, 0);
        s->jobs[i] = true;
        s->n++;
    }
}

bool qb_suspected_first(struct qb_suspected *s, const struct qb_batch *batch,
                        struct qb_queue *queue)
{
    bool some = false;

    for (size_t i = 0; i < batch->n_jobs && !some; i++)
        some = batch->jobs[i].suspect != QB_SUSPECT_NOT;
    if (!some)
        return true;
    s->jobs = calloc(batch->n_jobs, sizeof(*s->jobs));
    if (!s->jobs)
        return false;
    put_first(s, batch, queue, QB_SUSPECT_FIRST);
    put_first(s, batch, queue, QB_SUSPECT);
    return true;
}

void qb_suspected_clear(struct qb_suspected *s, size_t job)
{
    if (!s->jobs || !s->jobs[job])
        return;
    s->jobs[job] = false;
    s->n--;
}

void qb_suspected_free(struct qb_suspected *s)
{
    free(qb_take(&s->jobs));
}
