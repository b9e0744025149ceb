/* Runs the barriers of waves. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/own.h"
#include "wave/wave_slot.h"

static void synced(struct qb_slot *s, double from, int errnum)
{
    enum qb_span_kind kind = s->step == QB_STEP_APPENDED ? QB_SPAN_SYNC : QB_SPAN_COMMIT;
    struct qb_span *span = &s->spans[kind];

    if (s->again && span->seconds > 0)
        span->seconds += qb_now() - from;
    else
        *span = (struct qb_span){.started_seconds = from, .seconds = qb_now() - from};
    if (s->step == QB_STEP_APPENDED) {
        s->append_errno = errnum;
        return;
    }
    s->flip_errno = errnum;
    s->step = QB_STEP_SYNCED;
}

static bool wants_barrier(const struct qb_slot *s)
{
    return s->step == QB_STEP_APPENDED || s->step == QB_STEP_FLIPPED || s->step == QB_STEP_FOUND;
}

static bool wave_is_due(const struct qb_wave *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (wants_barrier(&w->slots[i]))
            return true;
    return false;
}

bool qb_wave_barrier_is_due(const struct qb_wave_barrier *b)
{
    return wave_is_due(b->waves[0]) || wave_is_due(b->waves[1]);
}

void qb_wave_unrecorded(struct qb_wave *w, int errnum)
{
    for (size_t i = 0; i < w->n && errnum; i++)
        if (qb_state_must_record(&w->batch->jobs[w->slots[i].job].request))
            w->slots[i].record_errno = errnum;
}

/* A backup is another file: only a sync of all of them covers it and its name. */
static enum qb_sync how_to_sync(const struct qb_wave *w)
{
    return w->batch->policy.backup ? QB_SYNC_FS : w->batch->policy.sync;
}

/* Where memory is short, each file has its own barrier. */
static void barrier_each(const struct qb_wave *w, struct qb_io *io)
{
    for (size_t i = 0; i < w->n; i++) {
        struct qb_slot *s = &w->slots[i];
        struct qb_file *files[QB_AMEND_FILES];
        int errors[QB_AMEND_FILES] = {0};
        double from = qb_now();
        size_t n;

        if (!wants_barrier(s))
            continue;
        n = qb_amend_dirty_files(s->amend, files);
        qb_io_barrier(io, files, n, w->batch->policy.backup ? QB_SYNC_FS : QB_SYNC_FILE, errors);
        synced(s, from, errors[0] ? errors[0] : errors[1]);
    }
}

static void journal_synced(struct qb_wave_barrier *b, int errnum)
{
    b->journal_errno = errnum;
    for (size_t i = 0; i < 2; i++)
        qb_wave_unrecorded(b->waves[i], errnum);
}

static void barrier_one_by_one(struct qb_wave_barrier *b, struct qb_io *io)
{
    int errnum = 0;

    if (b->journal)
        qb_io_barrier(io, &b->journal, 1, QB_SYNC_FILE, &errnum);
    for (size_t i = 0; i < 2; i++)
        barrier_each(b->waves[i], io);
    journal_synced(b, errnum);
}

void qb_wave_barrier(void *arg, struct qb_io *io)
{
    struct qb_wave_barrier *b = arg;
    size_t most = b->waves[0]->n + b->waves[1]->n, n = 0, first = b->journal != NULL;
    size_t room = QB_AMEND_FILES * most + 1;
    QB_AUTO(qb_buf) struct qb_slot **slots = malloc(room * sizeof(struct qb_slot *));
    QB_AUTO(qb_buf) struct qb_file **files = malloc(room * sizeof(struct qb_file *));
    QB_AUTO(qb_buf) int *errors = calloc(room, sizeof(int));
    double from = qb_now();

    if (!slots || !files || !errors) {
        barrier_one_by_one(b, io);
        return;
    }
    /* First: a sync of the file system through the journal's descriptor, which was opened before
     * all others, misses no error, and flushes the journal too. */
    if (b->journal)
        files[0] = b->journal;
    for (size_t i = 0; i < most; i++) {
        bool second = i >= b->waves[0]->n;
        struct qb_slot *s = &b->waves[second]->slots[second ? i - b->waves[0]->n : i];

        if (wants_barrier(s))
            for (size_t k = qb_amend_dirty_files(s->amend, files + first + n); k > 0; k--)
                slots[n++] = s;
    }
    if (first + n > 0)
        qb_io_barrier(io, files, first + n, how_to_sync(b->waves[0]), errors);
    for (size_t i = 0, end; i < n; i = end) { /* an image's files follow each other */
        int errnum = 0;

        for (end = i; end < n && slots[end] == slots[i]; end++)
            errnum = errnum ? errnum : errors[first + end];
        synced(slots[i], from, errnum);
    }
    if (b->journal)
        journal_synced(b, errors[0]);
}
