#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/own.h"
#include "qcow2/disk.h"
#include "common/finish.h"
#include "fleet/session.h"
#include "clones/backup_stays.h"
#include "shard/shard.h"

static const struct qb_trace *trace_of(const struct qb_history *h, const struct qb_batch *batch,
                                       const struct qb_job *job)
{
    char name[PATH_MAX];

    return qb_history_find(h, qb_job_name(batch, job, name));
}

/* Whether the file is unchanged since the journal recorded its state; that costs one call. */
static bool is_as_left(const struct qb_job *job, const struct qb_seen *left)
{
    struct qb_seen now = qb_seen_at(job->path);

    return qb_seen_is_unwritten(left, &now);
}

static bool is_done(const struct qb_job *job, const struct qb_trace *t)
{
    if (!t->ended || t->undone)
        return false;
    if (t->status == QB_STATUS_CHANGED && job->request.verify != QB_VERIFY_NONE && !t->verified)
        return false;
    return (t->status == QB_STATUS_CHANGED || t->status == QB_STATUS_UNCHANGED) &&
           is_as_left(job, &t->seen);
}

/* Planning again would report "unchanged": it cannot see what verification found. */
static bool is_mistrusted(const struct qb_job *job, const struct qb_trace *t)
{
    return t->ended && t->code == QB_E_VERIFY && t->committed && !t->undone &&
           is_as_left(job, &t->done);
}

/* Whether an undo of the run reverts, or may revert, an amend by another request. */
static bool keeps_undo(const struct qb_job *job, const struct qb_trace *t)
{
    return t->has_undo && t->undo_asks != job->asks && (t->committed || t->uncertain) &&
           !t->undone && !t->discarded;
}

/* Whether the run has added to the size of this image, or may have, what the job adds. */
static bool has_added(const struct qb_job *job, const struct qb_trace *t)
{
    bool same = t->size_added ? t->size_added == job->size_added : t->asks == job->asks;

    return job->size_added && same && (t->uncertain || t->reached);
}

/* An added size is added once: the size that was planned then is the one to reach.  Whoever has
 * made the image larger still has reached it. */
static void fix_added_size(struct qb_job *job, const struct qb_trace *t)
{
    if (!has_added(job, t))
        return;
    job->request.size = t->virtual_size;
    job->request.size_is = QB_SIZE_AT_LEAST;
    job->request.allow_shrink = false;
}

/* A raw disk that became an image begins like one that a guest may have written there: what tells
 * them apart is the header that the run recorded before it wrote it. */
static void note_header(const struct qb_keep *keep, const struct qb_history *h,
                        const struct qb_trace *t, struct qb_batch *batch, struct qb_job *job)
{
    QB_AUTO(qb_buf) char *header = NULL;
    struct qb_err err;

    if (!t->header_at || t->undone || !(job->request.set & QB_KEY_CONVERT))
        return;
    header = malloc(QB_SECTOR);
    if (!header || qb_history_header(keep->dir, h, t, (uint8_t *)header, &err) < 0 ||
        !qb_vec_push(&batch->blocks, header))
        return;
    job->header = (const uint8_t *)qb_take(&header);
}

void qb_resume_apply(const struct qb_keep *keep, struct qb_batch *batch, const struct qb_history *h,
                     bool redo)
{
    for (size_t i = 0; i < batch->n_jobs; i++) {
        struct qb_job *job = &batch->jobs[i];
        const struct qb_trace *t = trace_of(h, batch, job);

        if (!t)
            continue;
        job->abandoned_from = t->abandoned_from;
        note_header(keep, h, t, batch, job);
        job->cuts_data = t->cuts_data && t->asks == job->asks;
        job->taken_back = !redo && qb_trace_is_taken_back(t);
        job->undo_kept = keeps_undo(job, t);
        job->skipped = t->ended && t->code == QB_E_BY_HAND;
        job->was_changed = qb_trace_is_changed(t);
        job->may_be_changed = t->uncertain;
        job->step = t->step;
        job->clone_written = qb_backup_is_written(t);
        job->clone_stays = qb_backup_stays(t, job->path, &job->clone_behind);
        if (t->asks == job->asks) { /* else the manifest has changed, and asks for something else */
            job->already = is_done(job, t);
            job->mistrusted = is_mistrusted(job, t);
        }
        if (!job->already)
            fix_added_size(job, t);
    }
}

void qb_resume_roll(struct qb_batch *batch, const struct qb_history *h)
{
    batch->past = (struct qb_rollout_past){
        .named = batch->n_jobs, .passed = h->steps_passed, .asked = h->asked};
    for (size_t i = 0; i < h->traces.n; i++) {
        const struct qb_trace *t = &h->traces.items[i];

        batch->past.changed[t->step ? t->step - 1 : 0] += qb_trace_is_changed(t);
    }
}

void qb_resume_failed_only(struct qb_batch *batch, const struct qb_history *h)
{
    size_t n = 0;

    for (size_t i = 0; i < batch->n_jobs; i++) {
        const struct qb_trace *t = trace_of(h, batch, &batch->jobs[i]);

        if (t && qb_trace_has_failed(t))
            batch->jobs[n++] = batch->jobs[i];
        else
            free(batch->jobs[i].path);
    }
    batch->n_jobs = n;
}

void qb_resume_count_elsewhere(const struct qb_batch *batch, const struct qb_history *h,
                               struct qb_state *s)
{
    size_t ended = 0, open = 0, here = 0; /* of the records; jobs of the batch among them */
    uint64_t unknown, in_batch;

    for (size_t i = 0; i < h->traces.n; i++) {
        ended += h->traces.items[i].ended && h->traces.items[i].status != QB_STATUS_INTERRUPTED;
        open += qb_trace_is_left(&h->traces.items[i]);
    }
    for (size_t i = 0; i < batch->n_jobs; i++) {
        const struct qb_trace *t = trace_of(h, batch, &batch->jobs[i]);

        if (!t)
            continue;
        here++;
        ended -= t->ended && t->status != QB_STATUS_INTERRUPTED;
        open -= qb_trace_is_left(t);
    }
    /* Images that no record is about, and of these the ones that the batch has. */
    unknown = h->images > h->traces.n ? h->images - h->traces.n : 0;
    in_batch = QB_MIN(batch->n_jobs - here, unknown);
    unknown -= in_batch;
    s->left_elsewhere = unknown + (h->traces.n - here) - ended;
    s->open_elsewhere = unknown + open;
}

/* ---- an added size ----------------------------------------------------------------------------
 */

static size_t count_added(const struct qb_batch *batch, const struct qb_history *h)
{
    size_t n = 0;

    for (size_t i = 0; i < batch->n_jobs; i++) {
        const struct qb_trace *t = trace_of(h, batch, &batch->jobs[i]);

        n += t && has_added(&batch->jobs[i], t);
    }
    return n;
}

static int check_run(struct qb_keep *keep, const struct qb_batch *batch, const struct qb_glance *g,
                     struct qb_err *err)
{
    bool undone = g->undone && !g->unfinished;
    struct qb_history h;
    size_t n;

    if (g->held)
        return qb_fail(err, QB_E_LOCKED, QB_NOWHERE, "run %s: in use by another qbatch process",
                       g->id.text);
    if (qb_history_read(keep->dir, g->id.text, &h, err) < 0) {
        qb_history_free(&h);
        return -1;
    }
    n = count_added(batch, &h);
    qb_history_free(&h);
    if (n == 0)
        return 0;
    keep->finish = qb_finish_resume(g->id.text, undone ? " --redo" : "", batch->typed);
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "run %s of this manifest has added to the size of %zu image%s and %s; a new run "
                   "would add once more (--new-run does it all the same)",
                   g->id.text, n, n == 1 ? "" : "s",
                   undone ? "others were undone" : "is not finished");
}

int qb_resume_check_added(struct qb_keep *keep, const struct qb_batch *batch, struct qb_err *err)
{
    char manifest[PATH_MAX];
    qb_run_ids ids = {0};
    int r = qb_state_dir_list(keep->dir, &ids, err);

    qb_runs_manifest(batch, manifest);
    for (size_t i = 0; r == 0 && i < ids.n; i++) {
        struct qb_glance g;
        bool concerned;

        if (qb_runs_is_settled(keep->dir, ids.items[i]))
            continue;
        concerned = qb_glance_at_own(keep->dir, ids.items[i], batch, manifest, &g);
        if (g.held && concerned)
            g.held = qb_runs_is_busy(keep->dir, ids.items[i], manifest);
        if (concerned && !g.superseded && !g.lost && (g.unfinished || g.undone || g.held))
            r = check_run(keep, batch, &g, err);
        qb_glance_free(&g);
    }
    qb_vec_free(&ids);
    return r;
}

/* ---- runs that nobody goes on with ----------------------------------------------------------- */

static void take_over(struct qb_keep *keep, struct qb_batch *batch, const struct qb_history *h)
{
    for (size_t i = 0; i < batch->n_jobs; i++) {
        struct qb_job *job = &batch->jobs[i];
        const struct qb_trace *t = trace_of(h, batch, job);

        if (t)
            note_header(keep, h, t, batch, job);
        if (!t || t->abandoned_from == 0)
            continue;
        if (job->abandoned_from == 0 || t->abandoned_from < job->abandoned_from)
            job->abandoned_from = t->abandoned_from;
        qb_journal_begin(&keep->state.journal, "abandoned");
        qb_journal_path(&keep->state.journal, t->path);
        qb_journal_number(&keep->state.journal, "length", job->abandoned_from);
        qb_journal_end(&keep->state.journal);
    }
}

/* A shard takes over its images of a run that has others, too, which that run keeps. */
static void supersede(struct qb_keep *keep, struct qb_batch *batch, const struct qb_glance *g)
{
    bool all = qb_shard_covers(batch->origin.shard, g->shard);
    struct qb_history h;
    struct qb_journal j = {.file.fd = -1};
    struct qb_err err;

    if (qb_history_reopen(keep->dir, g->id.text, &h, &j, &err) == 0) {
        take_over(keep, batch, &h);
        qb_journal_write(&keep->state.journal);
        if (all) {
            qb_journal_begin(&j, "superseded");
            qb_journal_text(&j, "by", keep->state.id);
            qb_journal_end(&j);
            h.superseded = true;
        }
        qb_tally_put(&j, &h);
        if (!g->ended)
            snprintf(keep->notice, sizeof(keep->notice),
                     "run %s of this manifest is unfinished; this is a new run "
                     "(--resume=%s finishes it instead)",
                     g->id.text, g->id.text);
    }
    qb_journal_close(&j);
    qb_history_free(&h);
}

/* Images that an earlier run amended and found wrong, and that have not changed since: planning
 * again would report "unchanged", since it cannot see what verification found. */
static void distrust(struct qb_keep *keep, struct qb_batch *batch, struct qb_run_id id)
{
    struct qb_history h;
    struct qb_err err;
    bool read = qb_history_read(keep->dir, id.text, &h, &err) == 0;

    for (size_t i = 0; read && i < batch->n_jobs; i++) {
        const struct qb_trace *t = trace_of(&h, batch, &batch->jobs[i]);

        batch->jobs[i].mistrusted |= t && is_mistrusted(&batch->jobs[i], t);
    }
    qb_history_free(&h);
}

/* What an earlier run of the manifest means to this one. */
static void heed(struct qb_keep *keep, struct qb_batch *batch, const struct qb_glance *g,
                 const char *manifest)
{
    bool taken = !g->superseded && (g->unfinished || g->undone) &&
                 !(g->held && qb_runs_is_busy(keep->dir, g->id, manifest));

    if (taken)
        supersede(keep, batch, g);
    if (g->undo && g->failed)
        distrust(keep, batch, g->id);
    if (!taken && g->from_all)
        qb_runs_tally(keep->dir, g->id);
}

void qb_resume_supersede(struct qb_keep *keep, struct qb_batch *batch)
{
    char manifest[PATH_MAX];
    qb_run_ids ids = {0};
    struct qb_err err;

    qb_runs_manifest(batch, manifest);
    if (qb_state_dir_list(keep->dir, &ids, &err) < 0)
        ids.n = 0;
    for (size_t i = 0; i < ids.n; i++) {
        struct qb_glance g;

        if (strcmp(ids.items[i].text, keep->state.id) == 0 ||
            qb_runs_is_settled(keep->dir, ids.items[i]))
            continue;
        if (qb_glance_at_own(keep->dir, ids.items[i], batch, manifest, &g) && g.is_readable)
            heed(keep, batch, &g, manifest);
        qb_glance_free(&g);
    }
    qb_vec_free(&ids);
}
