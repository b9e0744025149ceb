/* `qbatch undo`: selects the images of a run, and calls undo_run.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "command/commands.h"
#include "run/discard.h"
#include "report/report_json.h"
#include "command/overrides.h"
#include "command/output.h"
#include "host/caller.h"
#include "util/signal.h"
#include "journal/state_dir.h"
#include "run/undo_run.h"
#include "util/text.h"

/* What an undo works with. */
struct undoing {
    const struct qb_cli *cli;
    char dir[PATH_MAX];
    struct qb_history history;
    struct qb_journal journal;
    struct qb_batch batch;
    const struct qb_trace **traces; /* one a job */
    char lost[200];                 /* what no longer holds; see qb_summary */
};

static void end(struct undoing *u)
{
    qb_journal_close(&u->journal);
    qb_history_free(&u->history);
    qb_batch_free(&u->batch);
    free(u->traces);
}

static int add(struct undoing *u, const struct qb_trace *t, struct qb_err *err)
{
    struct qb_request rq;

    qb_request_init(&rq);
    if (!qb_batch_add(&u->batch, t->path, 0, &rq))
        return qb_fail_memory(err);
    u->traces[u->batch.n_jobs - 1] = t;
    return 0;
}

/* The image that a word names: as the run named it, or any name of the same file. */
static const struct qb_trace *find(const struct qb_history *h, const char *word)
{
    const struct qb_trace *t = qb_history_find(h, word);
    QB_AUTO(qb_buf) char *real = t ? NULL : realpath(word, NULL);

    for (size_t i = 0; !t && real && i < h->traces.n; i++) {
        QB_AUTO(qb_buf) char *other = realpath(h->traces.items[i].path, NULL);

        if (other && strcmp(real, other) == 0)
            t = &h->traces.items[i];
    }
    return t;
}

/* Giving up an undo is possible where one is not: what the run kept, it kept before it amended. */
static bool is_meant(const struct undoing *u, const struct qb_trace *t)
{
    if (qb_cli_has(u->cli, QB_OPTION_DISCARD))
        return t->has_undo && !t->undone && !t->discarded;
    return qb_trace_holds_undo(t);
}

static int add_named(struct undoing *u, const char *word, struct qb_err *err)
{
    const struct qb_trace *t = find(&u->history, word);

    if (!t)
        return qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE, "run %s has no image %.200s", u->history.id,
                       word);
    if (t->discarded || (t->undone && !is_meant(u, t)))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%.200s: %s already", word,
                       t->undone ? "this was undone" : "what an undo needs was freed");
    if (!is_meant(u, t))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       t->has_undo ? "%.200s: the journal does not tell that the run amended it"
                                   : "%.200s: the run kept nothing of it; see keep_undo",
                       word);
    for (size_t i = 0; i < u->batch.n_jobs; i++)
        if (u->traces[i] == t)
            return 0;
    return add(u, t, err);
}

/* All of the run: what can be undone, and, to be reported as not undone, the other images that the
 * run changed. */
static int add_all(struct undoing *u, struct qb_err *err)
{
    const struct qb_history *h = &u->history;
    bool discard = qb_cli_has(u->cli, QB_OPTION_DISCARD), some = false;
    int r = 0;

    for (size_t i = 0; i < h->traces.n; i++)
        some |= is_meant(u, &h->traces.items[i]);
    for (size_t i = 0; r == 0 && some && i < h->traces.n; i++) {
        const struct qb_trace *t = &h->traces.items[i];

        if (is_meant(u, t) || (!discard && t->committed && !t->undone))
            r = add(u, t, err);
    }
    return r;
}

static int choose(struct undoing *u, struct qb_err *err)
{
    const struct qb_history *h = &u->history;
    size_t n_words = u->cli->n_operands - 1;
    int r = 0;

    u->traces = calloc(h->traces.n + 1, sizeof(struct qb_trace *));
    if (!u->traces)
        return qb_fail_memory(err);
    for (size_t i = 0; r == 0 && i < n_words; i++)
        r = add_named(u, u->cli->operands[1 + i], err);
    if (r == 0 && n_words == 0)
        r = add_all(u, err);
    if (r == 0 && u->batch.n_jobs == 0)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       qb_history_count_undone(h) ? "run %s was undone already"
                                                  : "run %s holds nothing that can be undone",
                       h->id);
    return r;
}

static int begin(struct undoing *u, struct qb_err *err)
{
    const struct qb_origin *of_run = &u->history.origin;
    struct qb_run_id id;

    if (qb_state_dir_find(qb_cli_text(u->cli, QB_OPTION_STATE), u->dir, err) < 0 ||
        qb_state_dir_pick(u->dir, u->cli->operands[0], &id, err) < 0 ||
        qb_history_reopen(u->dir, id.text, &u->history, &u->journal, err) < 0)
        return -1;
    memcpy(u->batch.run_id, id.text, sizeof(u->batch.run_id));
    u->batch.name = u->history.name ? strdup(u->history.name) : NULL;
    qb_caller_note(&u->batch.origin);
    for (size_t i = 0; i < of_run->labels.n; i++)
        if (!qb_origin_add_label(&u->batch.origin, of_run->labels.items[i].key,
                                 of_run->labels.items[i].value))
            return qb_fail_memory(err);
    return choose(u, err);
}

/* Makes the records of what was done durable: a resume is to leave these images as they are. */
static void sync_journal(struct undoing *u, struct qb_summary *sum)
{
    sum->journal_errno = qb_journal_sync(&u->journal);
    if (!sum->journal_errno)
        return;
    snprintf(u->lost, sizeof(u->lost),
             "the journal of run %.31s could not be written: %s; what no longer holds: %s",
             u->history.id, strerror(sum->journal_errno),
             qb_cli_has(u->cli, QB_OPTION_DISCARD)
                 ? "status may still promise an undo"
                 : "status may not know what was undone, and --resume amends it again");
    sum->journal_lost = u->lost;
}

static int run(struct undoing *u)
{
    const struct qb_cli *cli = u->cli;
    struct qb_takeback t = {
        .dir = u->dir,
        .history = &u->history,
        .journal = &u->journal,
        .batch = &u->batch,
        .traces = u->traces,
        .options = {.io = cli->io,
                    .jobs = cli->jobs,
                    .dry_run = qb_cli_has(cli, QB_OPTION_DRY_RUN),
                    .stopped = qb_signal_seen},
    };
    struct qb_listener listener;
    struct qb_output out;
    struct qb_err err;

    qb_override(cli, &u->batch);
    if (qb_output_open(&out, cli, &u->batch) < 0)
        return QB_EXIT_USAGE;
    listener = qb_output_listener(&out);
    if ((qb_cli_has(cli, QB_OPTION_DISCARD) ? qb_discard_run : qb_takeback_run)(&t, &listener,
                                                                                &err) < 0)
        return qb_output_abort(&out, err.text);
    if (!t.options.dry_run)
        sync_journal(u, &out.sum);
    return qb_output_close(&out, false);
}

int qb_command_undo(const struct qb_cli *cli)
{
    struct undoing u = {.cli = cli, .journal.file.fd = -1};
    struct qb_err err;
    int code = QB_EXIT_USAGE;

    qb_batch_init(&u.batch);
    if (begin(&u, &err) == 0) {
        code = run(&u);
    } else {
        fputs("qbatch undo: ", stderr);
        qb_text_safe(stderr, err.text);
        fputc('\n', stderr);
        if (qb_cli_has(cli, QB_OPTION_JSON))
            qb_line_abort(stdout, err.text, QB_EXIT_USAGE);
        code = qb_stdout_end(QB_EXIT_USAGE);
    }
    end(&u);
    return code;
}
