#include "fleet/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "common/finish.h"
#include "common/shard_batch.h"
#include "shard/shard.h"

static bool goes_on(const struct qb_cli *cli)
{
    return qb_cli_has(cli, QB_OPTION_RESUME) || qb_cli_has(cli, QB_OPTION_RETRY_FAILED);
}

/* Whether the run must not go without. */
static bool is_asked_for(const struct qb_cli *cli, const struct qb_batch *batch)
{
    return qb_cli_text(cli, QB_OPTION_STATE) || goes_on(cli) || qb_state_keeps_undo(batch);
}

/* Clones are found again by the journal. */
static bool is_wanted(const struct qb_cli *cli, const struct qb_batch *batch)
{
    bool is_run = cli->command == QB_COMMAND_RUN || cli->command == QB_COMMAND_APPLY ||
                  batch->policy.backup != QB_BACKUP_NONE;

    return is_run && !qb_cli_has(cli, QB_OPTION_NO_STATE);
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
                       "run %s was one of another manifest, %.200s; --force-resume resumes it",
                       h->id, h->manifest ? h->manifest : "none");
    if (strcmp(h->manifest_print, batch->manifest_print) != 0)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "the manifest has changed since run %s; --force-resume resumes it, and "
                       "looks again at each image that is asked for something else",
                       h->id);
    return 0;
}

/* A run that has a shard keeps it, also where the command line does not repeat it. */
static int keep_shard(const struct qb_cli *cli, struct qb_batch *batch, const struct qb_history *h,
                      struct qb_err *err)
{
    struct qb_shard asked = batch->origin.shard, was = h->origin.shard;
    char a[QB_SHARD_TEXT], b[QB_SHARD_TEXT];

    if (!asked.of && was.of)
        return qb_shard_batch(batch, was, cli->jobs, err);
    if (asked.of == was.of && asked.number == was.number)
        return 0;
    if (was.of)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "run %s was shard %s, not %s, and is resumed as that", h->id,
                       qb_shard_text(was, a), qb_shard_text(asked, b));
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "run %s had all images of the manifest, not shard %s; resume it without --shard",
                   h->id, qb_shard_text(asked, b));
}

static void note_cut(const struct qb_history *h, char *out, size_t size)
{
    if (h->end.torn && h->end.cuts == 1)
        snprintf(out, size, "run %s: the last line of the journal was torn, and left out", h->id);
    else if (h->end.cuts > 0)
        snprintf(out, size, "run %s: a power cut lost records of the journal (in %zu place%s); %s",
                 h->id, h->end.cuts, h->end.cuts == 1 ? "" : "s",
                 "images that none of the others is about are looked at again");
}

static void go_on(const struct qb_cli *cli, struct qb_batch *batch, struct qb_keep *keep,
                  const struct qb_history *h)
{
    bool failed_only = qb_cli_has(cli, QB_OPTION_RETRY_FAILED);
    struct qb_state *s = &keep->state;

    memcpy(s->id, h->id, sizeof(s->id));
    if (h->ages_from)
        batch->ages_from = h->ages_from;
    s->undo = h->undo || qb_state_keeps_undo(batch);
    s->must_last = qb_state_must_record_some(batch);
    note_cut(h, keep->notice, sizeof(keep->notice));
    qb_resume_roll(batch, h);
    batch->past.answered = qb_cli_has(cli, QB_OPTION_YES);
    if (failed_only)
        qb_resume_failed_only(batch, h);
    qb_resume_apply(keep, batch, h, qb_cli_has(cli, QB_OPTION_REDO));
    qb_resume_count_elsewhere(batch, h, s);
    qb_journal_begin(&s->journal, "resumed");
    qb_state_stamp(&s->journal, "at");
    qb_journal_true(&s->journal, "failed_only", failed_only);
    qb_state_origin(&s->journal, &batch->origin);
    qb_journal_true(&s->journal, "torn", h->end.torn);
    qb_journal_end(&s->journal);
}

static enum qb_runs_with which(const struct qb_cli *cli)
{
    return qb_cli_has(cli, QB_OPTION_RETRY_FAILED) ? QB_RUNS_FAILED
           : qb_cli_has(cli, QB_OPTION_REDO)       ? QB_RUNS_UNDONE
                                                   : QB_RUNS_UNFINISHED;
}

/* What the earlier run has planned decides what this one does: it must not be lost after it. */
static int open_earlier(const struct qb_cli *cli, struct qb_batch *batch, struct qb_keep *keep,
                        struct qb_err *err)
{
    struct qb_history h = {0};
    struct qb_state *s = &keep->state;
    bool failures = qb_cli_has(cli, QB_OPTION_RETRY_FAILED);
    const char *run = qb_cli_text(cli, failures ? QB_OPTION_RETRY_FAILED : QB_OPTION_RESUME);
    int r = qb_runs_reopen(keep->dir, qb_cli_resumes_if_any(cli) ? NULL : run, which(cli), batch,
                           &h, &s->journal, err);

    if (r < 0)
        return -1;
    r = check_manifest(cli, batch, &h, err);
    if (r == 0)
        r = keep_shard(cli, batch, &h, err);
    if (r == 0)
        go_on(cli, batch, keep, &h);
    if (r == 0 && (s->must_last ? qb_journal_sync(&s->journal) : qb_journal_write(&s->journal)))
        r = qb_fail_sys(err, s->journal.errnum, QB_NOWHERE, "cannot write the journal of run %s",
                        h.id);
    if (r == 0 && s->must_last)
        r = qb_state_dir_sync(keep->dir, err);
    if (r < 0)
        qb_journal_close(&s->journal);
    qb_history_free(&h);
    return r;
}

static int open_any(const struct qb_cli *cli, struct qb_batch *batch, struct qb_keep *keep,
                    struct qb_err *err)
{
    if (qb_state_dir_make(keep->dir, err) < 0)
        return -1;
    if (goes_on(cli)) {
        int r = open_earlier(cli, batch, keep, err);

        if (r == 0 || !qb_cli_resumes_if_any(cli) || err->code != QB_E_NOT_FOUND)
            return r;
        if (qb_finish_adds(batch) && qb_resume_check_added(keep, batch, err) < 0)
            return -1;
    }
    return qb_state_begin(&keep->state, keep->dir, batch, err);
}

/* Whether a new run, with or without a journal, would add to sizes once too often.  For a dry run
 * that is only a notice. */
static int check_added(const struct qb_cli *cli, const struct qb_batch *batch, struct qb_keep *keep,
                       struct qb_err *err)
{
    if (cli->command != QB_COMMAND_RUN || goes_on(cli) || qb_cli_has(cli, QB_OPTION_NEW_RUN) ||
        !qb_finish_adds(batch) || qb_resume_check_added(keep, batch, err) == 0)
        return 0;
    if (!qb_cli_has(cli, QB_OPTION_DRY_RUN))
        return -1;
    snprintf(keep->notice, sizeof(keep->notice), "%s", err->text);
    return 0;
}

void qb_keep_begin(struct qb_keep *keep, struct qb_batch *batch)
{
    if (keep->kept && keep->state.is_new && batch->manifest_path)
        qb_resume_supersede(keep, batch);
    if (keep->kept) /* not at the end: the process may be confined then */
        qb_runs_prune(keep->dir);
}

int qb_keep_open(const struct qb_cli *cli, struct qb_batch *batch, struct qb_keep *keep,
                 struct qb_err *err)
{
    bool dry = qb_cli_has(cli, QB_OPTION_DRY_RUN), found;
    bool asked = is_asked_for(cli, batch) && !dry,
         wanted = (asked || is_wanted(cli, batch)) && !dry;

    *keep = (struct qb_keep){.state.journal.file.fd = -1};
    if (asked && qb_cli_has(cli, QB_OPTION_NO_STATE))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "keep_undo needs a journal, and --no-state forbids it");
    if (!qb_state_prepare(batch))
        return qb_fail_memory(err);
    found = qb_state_dir_find(qb_cli_text(cli, QB_OPTION_STATE), keep->dir, err) == 0;
    if (!qb_finish_note(cli, wanted && found ? keep->dir : NULL, batch))
        return qb_fail_memory(err);
    if (found && qb_state_dir_check(keep->dir, err) == 0 && check_added(cli, batch, keep, err) < 0)
        return -1;
    if (!wanted)
        return 0;
    if (!found || open_any(cli, batch, keep, err) < 0) {
        if (asked || batch->policy.backup != QB_BACKUP_NONE)
            return -1; /* clones that nobody would find again */
        snprintf(keep->notice, sizeof(keep->notice), "%s; this run is not recorded", err->text);
        return 0;
    }
    keep->kept = true;
    memcpy(batch->run_id, keep->state.id, sizeof(batch->run_id));
    batch->undo_kept = qb_state_keeps_undo(batch);
    return 0;
}

void qb_keep_drop(struct qb_keep *keep)
{
    free(qb_take(&keep->finish));
    if (keep->kept)
        qb_state_drop(&keep->state);
    keep->kept = false;
}

/* Which promises a journal breaks that could not be written. */
static void note_lost(struct qb_keep *keep, const struct qb_batch *batch, int errnum)
{
    bool undo = qb_state_keeps_undo(batch);

    snprintf(keep->lost, sizeof(keep->lost),
             "the journal of run %.31s could not be written: %s; what no longer holds: status may "
             "not know the result of each image, and --resume looks at those again%s",
             keep->state.id, strerror(errnum), undo ? "; undo may refuse images of this run" : "");
}

void qb_keep_end(struct qb_keep *keep, const struct qb_batch *batch, struct qb_summary *sum,
                 int code)
{
    if (!keep->kept)
        return;
    sum->journal_errno = qb_state_end(&keep->state, batch, sum, code);
    if (sum->journal_errno) {
        note_lost(keep, batch, sum->journal_errno);
        sum->journal_lost = keep->lost;
    }
    keep->kept = false;
}

bool qb_keep_find_other(const struct qb_cli *cli, const struct qb_keep *keep, char *text,
                        size_t size)
{
    char dir[PATH_MAX];
    qb_run_ids ids = {0};
    struct qb_err err;
    bool found = false;

    if (qb_state_dir_find(qb_cli_text(cli, QB_OPTION_STATE), dir, &err) < 0 ||
        qb_state_dir_list(dir, &ids, &err) < 0)
        ids.n = 0;
    for (size_t i = ids.n; !found && i-- > 0;) {
        struct qb_glance g;

        if (keep->kept && strcmp(ids.items[i].text, keep->state.id) == 0)
            continue;
        if (qb_glance_at(dir, ids.items[i], &g) == 0 && g.held) {
            found = true;
            snprintf(text, size,
                     "another qbatch is under way (run %s%s%.300s): it may be what holds "
                     "the images that are locked",
                     g.id.text, g.manifest ? " of " : "", g.manifest ? g.manifest : "");
        }
        qb_glance_free(&g);
    }
    qb_vec_free(&ids);
    return found;
}
