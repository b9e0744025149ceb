#include <string.h>

#include "batch/keep.h"

static const struct qb_trace *trace_of(const struct qb_history *h, const struct qb_batch *batch,
                                       const struct qb_job *job)
{
    char name[PATH_MAX];

    return qb_history_find(h, qb_job_name(batch, job, name));
}

/* Whether the file is what it was when the journal was told so; a look at it costs one call. */
static bool is_as_left(const struct qb_job *job, const struct qb_seen *left)
{
    struct qb_seen now = qb_seen_at(job->path);

    return left->valid && now.valid && now.dev == left->dev && now.ino == left->ino &&
           now.length == left->length && now.mtime_ns == left->mtime_ns;
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

/* Looked at again, it would be as wanted: what is wrong with it is not what a plan sees. */
static bool is_mistrusted(const struct qb_job *job, const struct qb_trace *t)
{
    return t->ended && t->code == QB_E_VERIFY && t->committed && !t->undone &&
           is_as_left(job, &t->done);
}

/* An added size is added once: what the first plan made of it is what is wanted. */
static void fix_added_size(struct qb_request *rq, const struct qb_trace *t)
{
    bool done = t->ended && (t->status == QB_STATUS_CHANGED || t->status == QB_STATUS_UNCHANGED);

    if (!(rq->set & QB_KEY_SIZE) || !rq->size_is_delta || !t->planned || t->undone)
        return;
    if (done && rq->set != QB_KEY_SIZE) {
        rq->set &= ~(unsigned)QB_KEY_SIZE;
        return;
    }
    rq->size = t->virtual_size;
    rq->size_is_delta = false;
    rq->allow_shrink = false; /* somebody may have made it larger still */
}

void qb_resume_apply(struct qb_batch *batch, const struct qb_history *h)
{
    for (size_t i = 0; i < batch->n_jobs; i++) {
        struct qb_job *job = &batch->jobs[i];
        const struct qb_trace *t = trace_of(h, batch, job);

        if (!t)
            continue;
        job->abandoned_from = t->abandoned_from;
        if (t->asks != job->asks)
            continue; /* the manifest has changed, and this image is asked for something else */
        job->already = is_done(job, t);
        job->mistrusted = is_mistrusted(job, t);
        if (!job->already)
            fix_added_size(&job->request, t);
    }
}

void qb_resume_failed_only(struct qb_batch *batch, const struct qb_history *h)
{
    size_t n = 0;

    for (size_t i = 0; i < batch->n_jobs; i++) {
        const struct qb_trace *t = trace_of(h, batch, &batch->jobs[i]);

        if (t && t->ended && t->status == QB_STATUS_FAILED)
            batch->jobs[n++] = batch->jobs[i];
        else
            free(batch->jobs[i].path);
    }
    batch->n_jobs = n;
}

/* ---- runs that nobody goes on with ----------------------------------------------------------- */

static void take_over(struct qb_keep *keep, struct qb_batch *batch, const struct qb_history *h)
{
    for (size_t i = 0; i < batch->n_jobs; i++) {
        struct qb_job *job = &batch->jobs[i];
        const struct qb_trace *t = trace_of(h, batch, job);

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

static void supersede(struct qb_keep *keep, struct qb_batch *batch, struct qb_run_id id)
{
    struct qb_history h;
    struct qb_journal j = {.file.fd = -1};
    struct qb_err err;

    if (qb_history_reopen(keep->dir, id.text, &h, &j, &err) == 0) {
        take_over(keep, batch, &h);
        qb_journal_write(&keep->state.journal);
        qb_journal_begin(&j, "superseded");
        qb_journal_text(&j, "by", keep->state.id);
        qb_journal_end(&j);
        snprintf(keep->notice, sizeof(keep->notice),
                 "run %s of this manifest did not come to its end; this one begins anew "
                 "(--resume=%s goes on with it instead)",
                 id.text, id.text);
    }
    qb_journal_close(&j);
    qb_history_free(&h);
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

        if (strcmp(ids.items[i].text, keep->state.id) == 0)
            continue;
        if (qb_glance_at(keep->dir, ids.items[i], &g) == 0 && g.unfinished && g.manifest &&
            strcmp(g.manifest, manifest) == 0 &&
            !(g.held && qb_runs_is_busy(keep->dir, ids.items[i], manifest)))
            supersede(keep, batch, ids.items[i]);
        qb_glance_free(&g);
    }
    qb_vec_free(&ids);
}
