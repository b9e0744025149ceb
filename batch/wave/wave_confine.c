/* Confines a run of a few quick images between opening them and reading their tables; some need no
 * helper for that. */
#include "files/direct.h"
#include "host/confining.h"
#include "wave/wave_slot.h"

static bool has_other_files(const struct qb_slot *s)
{
    const struct qb_info *info = qb_amend_result(s->amend)->before;

    return (info && (info->has_backing_file || info->external_data_file)) ||
           (s->rq.set & (QB_KEY_BACKING_FILE | QB_KEY_DATA_FILE));
}

static bool is_locked(const struct qb_slot *s)
{
    return s->step == QB_STEP_OVER && s->amend &&
           qb_amend_result(s->amend)->err.code == QB_E_LOCKED;
}

static bool has_locked(const struct qb_wave *w)
{
    bool locked = false;

    for (size_t i = 0; i < w->n && !locked; i++)
        locked = is_locked(&w->slots[i]);
    return locked;
}

/* Whether an image is opened after this.  One of several may be put off while it is planned, and a
 * locked one is tried again (run_end.c). */
static bool has_later_images(const struct qb_wave *w)
{
    return w->batch->n_jobs > 1 || w->slots[0].step == QB_STEP_AFTER || has_locked(w);
}

/* Whether another file may be. */
static bool has_later_files(const struct qb_wave *w)
{
    const struct qb_policy *policy = &w->batch->policy;
    bool later = policy->backup != QB_BACKUP_NONE || policy->extend_command.n > 0;

    for (size_t i = 0; i < w->n && !later; i++)
        later = w->slots[i].step == QB_STEP_OPENED && has_other_files(&w->slots[i]);
    return later;
}

static void keep_direct(struct qb_wave *w)
{
    for (size_t i = 0; i < w->n && !w->options->dry_run; i++)
        if (w->slots[i].step == QB_STEP_OPENED)
            qb_direct_keep(qb_amend_file(w->slots[i].amend));
}

/* Those for whom files are opened: of the images that are open. */
static int know_owners(const struct qb_wave *w, struct qb_err *err)
{
    struct qb_opening_rules *rules = &w->options->confining->opening;

    for (size_t i = 0; i < w->n; i++) {
        const struct qb_file *file;

        if (w->slots[i].step != QB_STEP_OPENED)
            continue;
        file = qb_amend_file(w->slots[i].amend);
        if (!qb_opening_know(rules, file->uid, file->gid))
            return qb_fail_memory(err);
    }
    return 0;
}

/* Compressed clusters are computed by all cores, whose number is read from files. */
static bool may_recompress(const struct qb_batch *batch)
{
    bool may = false;

    for (size_t i = 0; i < batch->n_jobs && !may; i++)
        may = batch->jobs[i].request.set & (QB_KEY_COMPRESSION_TYPE | QB_KEY_COMPAT);
    return may;
}

/* A window may be set later, by qbatch ctl. */
static bool may_have_window(const struct qb_run_options *options, const struct qb_batch *batch)
{
    return batch->limits.window != 0 || (options->hand && options->hand->served);
}

struct qb_confine_wish qb_wave_confine_wish(const struct qb_run_options *options,
                                            const struct qb_batch *batch, struct qb_owners *owners)
{
    return (struct qb_confine_wish){.owners = owners,
                                    .helper = true,
                                    .local_time = may_have_window(options, batch),
                                    .hands = may_recompress(batch)};
}

static int confine(struct qb_wave *w, struct qb_err *err)
{
    struct qb_confining *c = w->options->confining;

    struct qb_confine_wish wish = qb_wave_confine_wish(w->options, w->batch, w->owners);
    bool later_images = has_later_images(w);

    keep_direct(w);
    if (later_images) /* it looks into directories */
        qb_data_guard_read(w->data_guard);
    if (know_owners(w, err) < 0)
        return -1;
    wish.helper = later_images || has_later_files(w) || c->wants_helper;
    return qb_confining_begin(c, w->sched, &wish, err);
}

void qb_wave_confine(struct qb_wave *w)
{
    struct qb_err err;

    if (w->n == 0 || !qb_confining_is_due(w->options->confining) || confine(w, &err) == 0)
        return;
    for (size_t i = 0; i < w->n; i++) {
        struct qb_slot *s = &w->slots[i];

        if (s->step != QB_STEP_OPENED)
            continue;
        *qb_amend_err(s->amend) = err;
        qb_amend_result(s->amend)->status = QB_STATUS_FAILED;
        qb_slot_step(w, s, QB_STEP_OVER);
    }
}
