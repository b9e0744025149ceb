#include "fleet/earlier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "common/output.h"
#include "common/overrides.h"
#include "host/caller.h"
#include "host/confining.h"
#include "undoing/discard.h"
#include "run/relay_run.h"
#include "util/signal.h"

/* What is said of an image whose process died after its commit. */
#define UNDONE    "undone, which the journal does not say"
#define DISCARDED "without what its undo needs, which the journal does not say"

static int begin_batch(struct qb_earlier *e, struct qb_err *err)
{
    const struct qb_origin *of_run = &e->history.origin;

    memcpy(e->batch.run_id, e->history.id, sizeof(e->batch.run_id));
    e->batch.name = e->history.name ? strdup(e->history.name) : NULL;
    qb_caller_note(&e->batch.origin);
    qb_run_roots_apply(&e->history.roots, &e->batch.policy);
    for (size_t i = 0; i < of_run->labels.n; i++)
        if (!qb_origin_add_label(&e->batch.origin, of_run->labels.items[i].key,
                                 of_run->labels.items[i].value))
            return qb_fail_memory(err);
    e->traces = calloc(e->history.traces.n + 1, sizeof(struct qb_trace *));
    e->added = calloc(e->history.traces.n + 1, sizeof(*e->added));
    return e->traces && e->added ? 0 : qb_fail_memory(err);
}

int qb_earlier_open(struct qb_earlier *e, const struct qb_cli *cli, const char *word,
                    struct qb_err *err)
{
    struct qb_run_id id;

    *e = (struct qb_earlier){.journal.file.fd = -1};
    qb_batch_init(&e->batch);
    if (qb_state_dir_find(qb_cli_text(cli, QB_OPTION_STATE), e->dir, err) < 0 ||
        qb_state_dir_pick(e->dir, word, &id, err) < 0 ||
        qb_history_reopen(e->dir, id.text, &e->history, &e->journal, err) < 0)
        return -1;
    return begin_batch(e, err);
}

void qb_earlier_close(struct qb_earlier *e)
{
    qb_journal_close(&e->journal);
    qb_history_free(&e->history);
    qb_batch_free(&e->batch);
    free(e->traces);
    free(e->added);
}

int qb_earlier_add(struct qb_earlier *e, const struct qb_trace *t, struct qb_err *err)
{
    size_t number = (size_t)(t - e->history.traces.items);
    struct qb_request rq;

    if (e->added[number])
        return 0;
    qb_request_init(&rq);
    if (!qb_batch_add(&e->batch, t->path, 0, &rq))
        return qb_fail_memory(err);
    e->traces[e->batch.n_jobs - 1] = t;
    e->added[number] = true;
    return 0;
}

const struct qb_trace *qb_earlier_find(const struct qb_earlier *e, const char *word,
                                       struct qb_err *err)
{
    const struct qb_history *h = &e->history;
    const struct qb_trace *t = qb_history_find(h, word);
    QB_AUTO(qb_buf) char *real = t ? NULL : realpath(word, NULL);

    for (size_t i = 0; !t && real && i < h->traces.n; i++) {
        QB_AUTO(qb_buf) char *other = realpath(h->traces.items[i].path, NULL);

        if (other && strcmp(real, other) == 0)
            t = &h->traces.items[i];
    }
    if (!t)
        qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE, "run %s has no image %.200s", h->id, word);
    return t;
}

static void sync_journal(struct qb_earlier *e, struct qb_summary *sum, const char *lost)
{
    sum->journal_errno = qb_journal_sync(&e->journal);
    if (!sum->journal_errno)
        return;
    snprintf(e->lost, sizeof(e->lost),
             "the journal of run %.31s could not be written: %s; what no longer holds: %s",
             e->history.id, strerror(sum->journal_errno), lost);
    sum->journal_lost = e->lost;
}

/* Other images of the run are looked at, too: what stands above an image that is undone. */
static bool is_of_run(void *arg, const char *path)
{
    return qb_history_find(arg, path) != NULL;
}

static void offer(struct qb_confining *c, struct qb_earlier *e, struct qb_takeback *t)
{
    qb_confining_init(c, &e->batch, t->options.dry_run);
    c->more = (struct qb_more_files){is_of_run, &e->history};
    t->options.confining = c;
}

/* ---- by a process that may die of an image --------------------------------------------------- */

struct apart {
    struct qb_earlier *e;
    struct qb_takeback *t;
    qb_takeback_fn *fn;
};

/* In that process. */
static int work_here(void *arg, const struct qb_relay *relay, const struct qb_listener *listener,
                     struct qb_err *err)
{
    const struct apart *a = arg;
    int r;

    a->t->options.relay = relay;
    r = a->fn(a->t, listener, err);
    qb_confining_end(a->t->options.confining);
    return r;
}

/* What the traces say of the journal holds: it has only become longer, by what the process that
 * died was about to write. */
static void learn(struct qb_earlier *e, const struct qb_history *now)
{
    qb_vec_each (t, &e->history.traces) {
        const struct qb_trace *longer = qb_history_find(now, t->path);

        if (!longer)
            continue;
        t->discarding_at = longer->discarding_at;
        t->undoing = longer->undoing;
    }
}

static int reopen(void *arg, const char *how, struct qb_err *err)
{
    struct qb_earlier *e = ((const struct apart *)arg)->e;
    struct qb_history h = {0};
    int r;

    (void)how;
    qb_journal_close(&e->journal);
    r = qb_history_reopen(e->dir, e->history.id, &h, &e->journal, err);
    if (r < 0)
        e->journal = (struct qb_journal){.file.fd = -1, .errnum = EIO};
    else
        learn(e, &h);
    e->history.fd = r < 0 ? -1 : h.fd;
    qb_history_free(&h);
    return r;
}

static int work_apart(struct qb_earlier *e, struct qb_takeback *t, qb_takeback_fn *fn,
                      struct qb_output *out, const struct qb_listener *listener, struct qb_err *err)
{
    struct apart apart = {e, t, fn};
    struct qb_confining *c = t->options.confining;
    const struct qb_relay_run run = {.batch = &e->batch,
                                     .options = &t->options,
                                     .listener = listener,
                                     .journal = &e->journal,
                                     .flipped = fn == qb_discard_run ? DISCARDED : UNDONE,
                                     .confining = c,
                                     .body = work_here,
                                     .again = reopen,
                                     .arg = &apart};
    bool began = false;
    int r;

    out->sum.sandboxed = &c->sandboxed; /* the reports are not the other process's */
    if (qb_confining_is_due(c) && qb_signal_share() && !qb_journal_write(&e->journal)) {
        r = qb_relay_run(&run, &began, err);
        if (began || r == 0 || e->batch.policy.sandbox == QB_SANDBOX_STRICT)
            return r;
    }
    qb_output_offer(out, c);
    return fn(t, listener, err);
}

static void tell_of_sandbox(const struct qb_confining *c, const struct qb_listener *listener)
{
    char text[QB_SANDBOX_TEXT], line[QB_SANDBOX_TEXT + 20];
    const char *lack = qb_confining_lack(c, text);

    if (!lack || !listener->notice)
        return;
    snprintf(line, sizeof(line), "sandbox: %s", lack);
    listener->notice(listener->arg, line);
}

int qb_earlier_work(struct qb_earlier *e, const struct qb_cli *cli, qb_takeback_fn *fn,
                    const char *lost)
{
    struct qb_takeback t = {
        .dir = e->dir,
        .history = &e->history,
        .journal = &e->journal,
        .batch = &e->batch,
        .traces = e->traces,
        .options = {.io = cli->io,
                    .jobs = cli->jobs,
                    .dry_run = qb_cli_has(cli, QB_OPTION_DRY_RUN),
                    .stopped = qb_signal_seen},
        .discard_writes = qb_cli_has(cli, QB_OPTION_DISCARD_WRITES),
        .ignore_times = qb_cli_has(cli, QB_OPTION_IGNORE_TIMES),
    };
    __attribute__((cleanup(qb_confining_end))) struct qb_confining confining = {.begun = false};
    bool confines = fn == qb_takeback_run || fn == qb_discard_run;
    struct qb_listener listener;
    struct qb_output out;
    struct qb_err err;

    qb_override(cli, &e->batch);
    if (qb_output_open(&out, cli, &e->batch) < 0)
        return QB_EXIT_USAGE;
    listener = qb_output_listener(&out);
    if (confines)
        offer(&confining, e, &t);
    if (qb_confining_check(&confining, &err) < 0 ||
        (confines ? work_apart(e, &t, fn, &out, &listener, &err) : fn(&t, &listener, &err)) < 0)
        return qb_output_abort(&out, err.text);
    tell_of_sandbox(&confining, &listener);
    if (!t.options.dry_run)
        sync_journal(e, &out.sum, lost);
    return qb_output_close(&out, false);
}
