#include "batch/keep.h"

#include <string.h>

static bool goes_on(const struct qb_cli *cli)
{
    return qb_cli_has(cli, QB_OPTION_RESUME) || qb_cli_has(cli, QB_OPTION_RETRY_FAILED);
}

/* Whether the run must not go without. */
static bool is_asked_for(const struct qb_cli *cli, const struct qb_batch *batch)
{
    return qb_cli_text(cli, QB_OPTION_STATE) || goes_on(cli) ||
           (qb_state_keeps_undo(batch) && !qb_cli_has(cli, QB_OPTION_DRY_RUN));
}

static bool is_wanted(const struct qb_cli *cli)
{
    return cli->command == QB_COMMAND_RUN && !qb_cli_has(cli, QB_OPTION_DRY_RUN) &&
           !qb_cli_has(cli, QB_OPTION_NO_STATE);
}

static int check_manifest(const struct qb_cli *cli, const struct qb_batch *batch,
                          const struct qb_history *h, struct qb_err *err)
{
    char manifest[PATH_MAX];

    qb_runs_manifest(batch, manifest);
    if (qb_cli_has(cli, QB_OPTION_FORCE_RESUME))
        return 0;
    if (!h->manifest || strcmp(h->manifest, manifest) != 0)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "run %s was one of another manifest, %.200s; --force-resume goes on with it",
                       h->id, h->manifest ? h->manifest : "none");
    if (strcmp(h->manifest_print, batch->manifest_print) != 0)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the manifest has changed since run %s; --force-resume goes on with it, and "
                       "looks again at each image that is asked for something else",
                       h->id);
    return 0;
}

static void go_on(const struct qb_cli *cli, struct qb_batch *batch, struct qb_keep *keep,
                  const struct qb_history *h)
{
    bool failed_only = qb_cli_has(cli, QB_OPTION_RETRY_FAILED);
    struct qb_state *s = &keep->state;

    memcpy(s->id, h->id, sizeof(s->id));
    s->undo = h->undo || qb_state_keeps_undo(batch);
    if (h->end.torn)
        snprintf(keep->notice, sizeof(keep->notice),
                 "run %s: the last line of the journal was torn, and left out", h->id);
    qb_resume_apply(batch, h);
    if (failed_only) {
        qb_resume_failed_only(batch, h);
        s->left_elsewhere = h->ended ? h->left : h->images - qb_history_count(h, QB_STATUS_FAILED);
    }
    qb_journal_begin(&s->journal, "resumed");
    qb_state_stamp(&s->journal, "at");
    qb_journal_true(&s->journal, "failed_only", failed_only);
    qb_journal_true(&s->journal, "torn", h->end.torn);
    qb_journal_end(&s->journal);
}

static int open_earlier(const struct qb_cli *cli, struct qb_batch *batch, struct qb_keep *keep,
                        struct qb_err *err)
{
    struct qb_history h = {0};
    struct qb_state *s = &keep->state;
    bool failures = qb_cli_has(cli, QB_OPTION_RETRY_FAILED);
    const char *run = qb_cli_text(cli, failures ? QB_OPTION_RETRY_FAILED : QB_OPTION_RESUME);
    int r = qb_runs_reopen(keep->dir, run, failures, batch, &h, &s->journal, err);

    if (r < 0)
        return -1;
    r = check_manifest(cli, batch, &h, err);
    if (r == 0)
        go_on(cli, batch, keep, &h);
    if (r == 0 && qb_journal_write(&s->journal))
        r = qb_fail_sys(err, s->journal.errnum, QB_NOWHERE, "cannot write the journal of run %s",
                        h.id);
    if (r == 0 && qb_state_must_record_some(batch))
        r = qb_state_dir_sync(keep->dir, err);
    if (r < 0)
        qb_journal_close(&s->journal);
    qb_history_free(&h);
    return r;
}

static int open_any(const struct qb_cli *cli, struct qb_batch *batch, struct qb_keep *keep,
                    struct qb_err *err)
{
    if (qb_state_dir_find(qb_cli_text(cli, QB_OPTION_STATE), keep->dir, err) < 0 ||
        qb_state_dir_make(keep->dir, err) < 0)
        return -1;
    if (!qb_state_prepare(batch))
        return qb_fail_memory(err);
    if (goes_on(cli))
        return open_earlier(cli, batch, keep, err);
    return qb_state_begin(&keep->state, keep->dir, batch, err);
}

void qb_keep_begin(struct qb_keep *keep, struct qb_batch *batch)
{
    if (keep->kept && keep->state.is_new && batch->manifest_path)
        qb_resume_supersede(keep, batch);
}

int qb_keep_open(const struct qb_cli *cli, struct qb_batch *batch, struct qb_keep *keep,
                 struct qb_err *err)
{
    bool asked = is_asked_for(cli, batch);

    *keep = (struct qb_keep){.state.journal.file.fd = -1};
    if (asked && qb_cli_has(cli, QB_OPTION_NO_STATE))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "keep_undo needs a journal, and --no-state forbids it");
    if (!asked && !is_wanted(cli))
        return 0;
    if (open_any(cli, batch, keep, err) < 0) {
        if (asked)
            return -1;
        snprintf(keep->notice, sizeof(keep->notice), "%s; this run is not remembered", err->text);
        return 0;
    }
    keep->kept = true;
    memcpy(batch->run_id, keep->state.id, sizeof(batch->run_id));
    batch->undo_kept = qb_state_keeps_undo(batch);
    return 0;
}

void qb_keep_drop(struct qb_keep *keep)
{
    if (keep->kept)
        qb_state_drop(&keep->state);
    keep->kept = false;
}

void qb_keep_end(struct qb_keep *keep, const struct qb_batch *batch, const struct qb_summary *sum,
                 int code)
{
    if (!keep->kept)
        return;
    qb_state_end(&keep->state, batch, sum, code);
    qb_runs_prune(keep->dir);
    keep->kept = false;
}
