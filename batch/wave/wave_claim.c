/* Opens and locks the images of a wave, and reads their headers. */
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/num.h"
#include "backing/deadly.h"
#include "host/claiming.h"
#include "host/confining.h"
#include "job/rules.h"
#include "wave/rules_apply.h"
#include "wave/wave_slot.h"
#include "opener/look.h"

static void find_filesystem(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct stat st;

    if (qb_look(qb_io_opener(io), w->batch->jobs[w->slots[i].job].path, &st) == 0)
        w->slots[i].dev = st.st_dev;
}

void qb_slot_fail_or_put_off(struct qb_wave *w, struct qb_slot *s)
{
    if (qb_slot_gives_way(w, s))
        qb_slot_put_off(w, s, QB_STEP_CROWDED);
    else
        qb_slot_step(w, s, QB_STEP_OVER);
}

/* Headers can take megabytes each. */
static bool crowds_others(const struct qb_wave *w, const struct qb_slot *s)
{
    uint64_t held = atomic_load(w->memory);

    return held > w->memory_limit && held != s->memory && !qb_queue_has_all_room(w->queue, s->job);
}

/* A process before this one died of it, or its chain could not be read. */
static bool is_deadly(const struct qb_wave *w, const struct qb_slot *s)
{
    struct qb_err *err = qb_amend_err(s->amend);

    if (w->batch->jobs[s->job].chain_fault)
        *err = *w->batch->jobs[s->job].chain_fault;
    else if (qb_deadly_check(w->batch->deadly, qb_amend_file(s->amend), err) == 0)
        return false;
    qb_amend_result(s->amend)->status = QB_STATUS_FAILED;
    return true;
}

static void read_header(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    const struct qb_job *job = &w->batch->jobs[s->job];
    bool goes_on;

    s->rq = job->request;
    s->rq.verify = QB_MAX(s->rq.verify, s->verify);
    s->rq.convert_length = job->abandoned_from;
    s->rq.convert_header = job->header;
    qb_amend_expect(s->amend, &s->rq);
    goes_on = !is_deadly(w, s) && qb_amend_read_header(s->amend, io) == 0;
    s->rq.now = w->batch->ages_from;
    if (goes_on && job->rules)
        goes_on = qb_meant_begins(job, io, s->amend, &s->rq, &s->name);
    qb_slot_hold(w, s, qb_amend_memory(s->amend));
    if (!goes_on)
        qb_slot_fail_or_put_off(w, s);
    else if (crowds_others(w, s))
        qb_slot_put_off(w, s, QB_STEP_NO_ROOM);
    else
        qb_slot_step(w, s, QB_STEP_OPENED);
}

/* Whether a header is in memory is seen here as long as all were. */
static bool is_at_hand(struct qb_wave *w, struct qb_slot *s)
{
    bool cold = atomic_load(&w->cold) || !qb_file_is_cached(qb_amend_file(s->amend));

    if (cold)
        atomic_store(&w->cold, true);
    return !cold;
}

/* `claimed`: its file, as the helper has opened it already; fd -1: it is still to be. */
static void open_slot(struct qb_wave *w, struct qb_slot *s, struct qb_io *io,
                      struct qb_file *claimed)
{
    const struct qb_claim how = {.writable = !w->options->dry_run,
                                 .without_locks = w->batch->jobs[s->job].request.without_locks,
                                 .on_link = w->batch->jobs[s->job].request.on_link};
    double from = qb_now();

    s->started = from;
    s->worker = qb_sched_number(w->sched, io);
    s->amend = qb_amend_new(w->batch->jobs[s->job].path);
    if (s->amend && claimed->fd >= 0)
        qb_amend_give_file(s->amend, claimed);
    if (!s->amend || qb_amend_open_file(s->amend, io, how) < 0)
        qb_slot_fail_or_put_off(w, s);
    else if (is_at_hand(w, s))
        read_header(w, s, io);
    else
        qb_slot_step(w, s, QB_STEP_COLD);
    qb_slot_span(w, s, io, QB_SPAN_OPEN, from);
    s->busy_seconds += s->spans[QB_SPAN_OPEN].seconds;
}

static bool is_to_open(const struct qb_wave *w, const struct qb_slot *s)
{
    return s->step == QB_STEP_WAITS && !qb_wave_starts_no_more(w);
}

static void open_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_file none = {.fd = -1};

    if (is_to_open(w, &w->slots[i]))
        open_slot(w, &w->slots[i], io, &none);
}

/* ---- many at a time, by the helper of a confined process ------------------------------------- */

/* In a small wave each image gets a second descriptor along with it, see direct.h. */
static bool claims_many(const struct qb_wave *w)
{
    return w->n > QB_WAVE_VERIFIED_FROM_DISK && qb_confining_asks(w->options->confining) &&
           !w->limits->jobs_per_filesystem;
}

static bool wants_claim(void *arg, size_t i, struct qb_to_claim *image)
{
    const struct qb_wave *w = arg;
    const struct qb_slot *s = &w->slots[i];

    image->number = s->job;
    image->path = w->batch->jobs[s->job].path;
    return is_to_open(w, s);
}

static void open_claimed(void *arg, struct qb_io *io, size_t i, struct qb_file *file)
{
    struct qb_wave *w = arg;

    if (is_to_open(w, &w->slots[i])) /* not after too many of them failed */
        open_slot(w, &w->slots[i], io, file);
}

static void open_many(struct qb_wave *w)
{
    const struct qb_claiming claiming = {w->n, wants_claim, open_claimed, w};

    qb_claim_many(w->sched, &claiming);
}

/* ---- headers that are not in memory ---------------------------------------------------------- */

/* What is not in memory the kernel begins to read, which waits where the file system has to read
 * its own maps first. */
static void look_at_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_slot *s = &w->slots[i];

    if (s->step == QB_STEP_COLD && qb_file_is_cached(qb_amend_file(s->amend)))
        read_header(w, s, io);
}

static void read_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;

    if (w->slots[i].step == QB_STEP_COLD)
        read_header(w, &w->slots[i], io);
}

/* The kernel has all of them under way before the first is waited for. */
static void read_cold(struct qb_wave *w)
{
    qb_wave_each_waiting(w, look_at_one);
    qb_wave_each_waiting(w, read_one);
}

void qb_wave_open(struct qb_wave *w)
{
    atomic_store(&w->cold, false);
    if (w->limits->jobs_per_filesystem && w->n > 0)
        qb_sched_each(w->sched, w->n, find_filesystem, w);
    if (claims_many(w))
        open_many(w);
    else
        qb_wave_each(w, open_one);
    if (atomic_load(&w->cold))
        read_cold(w);
}
