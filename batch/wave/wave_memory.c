/* What the images of all waves may hold together: memory and open files. */
#include <errno.h>
#include <limits.h>
#include <malloc.h>

#include "base/num.h"
#include "base/own.h"
#include "wave/wave_slot.h"

void qb_slot_hold(struct qb_wave *w, struct qb_slot *s, uint64_t bytes)
{
    atomic_fetch_add(w->memory, bytes - s->memory); /* unsigned: less is added as a wrap */
    s->memory = bytes;
}

#define TRIM_FROM (UINT64_C(16) << 20) /* bytes */

/* A small part of a share is not worth trying: the image would be opened and read in vain. */
enum { SHARES_A_WORKER = 2, LEAST_OF_SHARE = 8 };

/* The least that a thread besides the workers is worth: the plan of an image of some 100 GiB. */
#define SHARE_AMONG_MORE (UINT64_C(8) << 20)

uint64_t qb_slot_grant(struct qb_wave *w, struct qb_slot *s)
{
    unsigned more = qb_sched_more(w->sched);
    uint64_t share = w->memory_limit / (SHARES_A_WORKER * QB_MAX(w->workers + more, 1u));
    bool has_all = qb_queue_has_all_room(w->queue, s->job);
    uint64_t held = atomic_load(w->memory), grant;

    do {
        grant = w->memory_limit - QB_MIN(held, w->memory_limit);
        if (has_all || held == s->memory)
            grant = QB_MAX(grant, 1); /* enough where only the header changes */
        else if (grant < QB_MAX(2 * s->tried, share / LEAST_OF_SHARE))
            return 0;
        else if (!s->tried)
            grant = QB_MIN(grant, share);
        s->within_budget = grant > qb_slot_memory_budget(w, s);
        grant = qb_min(grant, qb_slot_memory_budget(w, s));
    } while (!atomic_compare_exchange_weak(w->memory, &held, held + grant));
    s->memory += grant;
    s->wants_all = grant == share && !s->within_budget;
    s->among_more = more > 0;
    return grant;
}

void qb_slot_wants_more(struct qb_wave *w, struct qb_slot *s)
{
    bool memory = qb_amend_result(s->amend)->err.code == QB_E_MEMORY;

    if (s->among_more && (s->wants_all || !memory))
        atomic_store(w->no_more, true);
    s->wants_all &= memory && !s->among_more;
}

unsigned qb_wave_more_threads(const struct qb_wave *w)
{
    uint64_t threads = w->memory_limit / (SHARES_A_WORKER * SHARE_AMONG_MORE);

    if (atomic_load(w->no_more) || w->batch->policy.extend_command.n > 0)
        return 0;
    return (unsigned)QB_MIN(threads - QB_MIN(threads, w->workers), UINT_MAX);
}

bool qb_slot_gives_way(const struct qb_wave *w, struct qb_slot *s)
{
    const struct qb_failure *err;

    if (!s->amend || qb_amend_status(s->amend) != QB_STATUS_FAILED || w->batch->n_jobs == 1 ||
        qb_queue_has_all_room(w->queue, s->job))
        return false;
    err = &qb_amend_result(s->amend)->err;
    if (err->code == QB_E_MEMORY && s->within_budget)
        return false;
    return err->code == QB_E_MEMORY || err->sys_errno == EMFILE || err->sys_errno == ENFILE;
}

/* What many small blocks took, malloc keeps for this worker: others are to have it, and a single
 * image would have to take it again. */
static void trim(const struct qb_wave *w, uint64_t freed)
{
    if (freed >= TRIM_FROM && w->batch->n_jobs > 1)
        malloc_trim(0);
}

/* For the journal, and for the order of those above it. */
static void look_last(const struct qb_wave *w, struct qb_slot *s)
{
    int fd = qb_amend_file(s->amend)->fd;

    if (!w->options->state && !qb_graph_learns(w->graph))
        return;
    if (fd < 0 || fstat(fd, &s->last) < 0)
        s->last = (struct stat){0};
    else if (w->options->state)
        s->seen = qb_seen_of_stat(&s->last);
}

void qb_slot_release(struct qb_wave *w, struct qb_slot *s)
{
    uint64_t held = s->memory;

    if (!s->amend || s->released)
        return;
    s->released = true;
    look_last(w, s);
    s->seen.as_found = s->as_found;
    qb_amend_release(s->amend);
    trim(w, held);
    qb_slot_hold(w, s, qb_amend_memory(s->amend));
}

void qb_slot_put_off(struct qb_wave *w, struct qb_slot *s, enum qb_step why)
{
    uint64_t held = s->memory;

    qb_amend_close(s->amend);
    s->amend = NULL;
    qb_meter_again(w->meter, &s->metered);
    free(qb_take(&s->name));
    trim(w, held);
    qb_slot_hold(w, s, 0);
    qb_slot_step(w, s, why);
}
