/* Prepares a run: workers, waves, the limit on open files. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/descriptors.h"
#include "base/num.h"
#include "run/running.h"
#include "host/free_space.h"
#include "host/priority.h"
#include "host/topo.h"
#include "opener/named.h"

enum {
    WAVE_MAX = 512,   /* images; more gains nothing per barrier */
    WAVE_FIRST = 128, /* what four waves of so many hold stays in a processor's cache */
    FILES_RUN = 48,   /* open besides a wave's images: journal, reports, folders, barriers */
    FILES_WORKER = 6, /* its ring, and what it looks into for a moment */
    FILES_IMAGE = 2,  /* itself, and its backing file */
};

#define MEMORY_DEFAULT (UINT64_C(512) << 20)

void qb_run_release(struct qb_running *r)
{
    qb_hold_free(r->hold);
    qb_rolling_free(&r->rolling);
    qb_suspected_free(&r->suspected);
    qb_vec_free(&r->ended);
    qb_graph_free(r->graph);
    qb_overlays_free(r->overlays);
    qb_data_guard_free(r->data_guard);
    qb_run_errands_free(&r->errands);
    qb_lender_free(r->lender);
    qb_space_free(r->space);
    qb_queue_free(r->queue);
    qb_sched_close(r->sched);
    qb_owners_free(r->owners);
    if (r->paced)
        qb_pace_free(&r->pace);
    for (size_t i = 0; i < QB_WAVES; i++)
        free(r->waves[i].slots);
    if (r->pressure_fd >= 0)
        close(r->pressure_fd);
    free(r->taken);
    free(r->told);
    free(r->locked_since);
}

bool qb_run_stopped(const struct qb_running *r)
{
    return r->options->stopped && r->options->stopped();
}

/* How many images a wave can have open.  Whole backing chains are not foreseen: where they leave
 * too few files for others, those are put off, and the waves become smaller (qb_slot_gives_way). */
static size_t room_for_files(unsigned workers)
{
    size_t reserved = FILES_RUN + (size_t)FILES_WORKER * workers, images;
    rlim_t limit = qb_descriptors_allow();

    if (limit == RLIM_INFINITY)
        return WAVE_MAX;
    images = ((size_t)limit - qb_min(limit, reserved)) / (FILES_IMAGE * QB_WAVES);
    return qb_min(qb_max(images, 1), WAVE_MAX);
}

void qb_waves_prepare(size_t images)
{
    qb_descriptors_allow();
    qb_descriptors_make_room(qb_min(images, (size_t)QB_WAVES * WAVE_MAX) + FILES_RUN);
    malloc_trim(0);
}

/* A run of which somebody may ask for a limit later has the pace of its hand from the beginning. */
static void set_pace(struct qb_running *r)
{
    struct qb_hand *hand = r->options->hand;

    r->paced = (r->limits.rate || r->limits.iops) && !(hand && hand->served);
    if (r->paced)
        qb_pace_init(&r->pace, (double)r->limits.rate, (double)r->limits.iops);
    if (r->paced || (hand && hand->served))
        qb_sched_set_pace(r->sched, r->paced ? &r->pace : &hand->pace);
}

static int open_workers(struct qb_running *r, struct qb_err *err)
{
    unsigned wanted = r->options->jobs ? r->options->jobs : r->batch->limits.jobs;
    struct qb_topo *topo = qb_topo_open(wanted, r->batch);
    const char *fell_back = NULL;
    char text[200];

    r->wave_max = qb_min(room_for_files(qb_topo_workers(topo)), QB_MAX(r->batch->n_jobs, 1));
    r->wave_fits = r->wave_max;
    r->wave_pays = r->batch->n_jobs > r->wave_max ? QB_MIN(r->wave_max, WAVE_FIRST) : r->wave_max;
    if (qb_sched_open(topo, r->options->io, r->batch->n_jobs > r->wave_max, &r->sched, &fell_back,
                      err) < 0)
        return -1;
    if (fell_back && r->listener->notice) {
        snprintf(text, sizeof(text), "%s; going on with ordinary system calls", fell_back);
        r->listener->notice(r->listener->arg, text);
    }
    set_pace(r);
    return 0;
}

static int make_wave(struct qb_running *r, struct qb_wave *wave, struct qb_err *err)
{
    uint64_t memory = r->batch->limits.memory_bytes;

    *wave = (struct qb_wave){.batch = r->batch,
                             .options = r->options,
                             .limits = &r->limits,
                             .meter = r->listener->meter,
                             .sched = r->sched,
                             .graph = r->graph,
                             .lender = r->lender,
                             .data_guard = r->data_guard,
                             .owners = r->owners,
                             .errands = &r->errands,
                             .queue = r->queue,
                             .memory_limit = memory ? memory : MEMORY_DEFAULT,
                             .workers = qb_sched_workers(r->sched),
                             .no_more = &r->no_more,
                             .memory = &r->memory,
                             .space = r->space,
                             .failures = &r->failures,
                             .slots = calloc(r->wave_max, sizeof(struct qb_slot))};
    return wave->slots ? 0 : qb_fail_memory(err);
}

int qb_run_prepare(struct qb_running *r, struct qb_err *err)
{
    const char *journal = r->options->state ? r->options->state->journal.file.path : NULL;
    size_t n = r->batch->n_jobs;

    if (n > 1)
        qb_waves_prepare(n);
    if (qb_run_errands_offer(&r->errands, r->options->confining, journal, err) < 0 ||
        open_workers(r, err) < 0)
        return -1;
    r->queue = qb_queue_new(n);
    r->hold = qb_hold_new(n);
    r->graph = qb_graph_new(r->batch, r->queue, r->sched);
    r->lender = qb_lender_new();
    r->data_guard = qb_data_guard_new(r->batch, r->sched, r->options->stopped);
    r->owners = qb_policy_owners(&r->batch->policy,
                                 r->options->dry_run && r->batch->policy.roots.n == 0, err);
    if (!r->owners)
        return -1;
    r->errands.owners = r->owners;
    r->space = qb_space_new();
    r->failures.most = qb_run_most_failures(r->batch);
    r->taken = malloc(r->wave_max * sizeof(r->taken[0]));
    r->told = malloc(QB_TOLD_AT_ONCE * sizeof(r->told[0]));
    if (r->options->relay && r->hold && !qb_hold_nothing(r->hold))
        return qb_fail_memory(err);
    if (!r->queue || !r->hold || !r->graph || !r->lender || !r->data_guard || !r->space ||
        !r->taken || !r->told)
        return qb_fail_memory(err);
    if (r->limits.load_percent > 0 || (r->options->hand && r->options->hand->served))
        r->pressure_fd = qb_pressure_open();
    qb_sched_set_owners(r->sched, r->owners);
    for (size_t i = 0; i < QB_WAVES; i++)
        if (make_wave(r, &r->waves[i], err) < 0)
            return -1;
    r->fresh = &r->waves[0];
    r->appended = &r->waves[1];
    r->flipped = &r->waves[2];
    r->ending = &r->waves[3];
    return 0;
}

int qb_run_find_overlays(struct qb_running *r)
{
    int rc = qb_overlays_find(r->batch, r->sched, r->options->stopped, &r->overlays, r->err);

    for (size_t i = 0; i < QB_WAVES; i++)
        r->waves[i].overlays = r->overlays;
    return rc;
}
