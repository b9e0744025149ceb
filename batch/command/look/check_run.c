#include "look/check_run.h"

#include <string.h>

#include "base/clock.h"
#include "base/own.h"
#include "look/each_image.h"
#include "text/check_table.h"
#include "text/check_text.h"
#include "text/failure.h"

enum {
    FINDINGS_MAX = 1000, /* of an image, listed */
    LISTED_MAX = 100,    /* of a code, listed for programs; the rest are counted */
    SHOWN_MAX = 20,      /* of a code, printed for people */
};

struct fleet {
    const struct qb_batch *batch;
    const struct qb_check_options *options;
    struct qb_check_table table;
    struct qb_check_summary *sum;
    bool by_row;
    double began; /* qb_now() */
};

/* ---- one image, by a worker ------------------------------------------------------------------ */

static void check_within(const struct fleet *f, struct qb_io *io, const struct qb_each_turn *turn,
                         struct qb_checked *k)
{
    struct qb_check_wish wish = {.level = k->level,
                                 .without_locks = k->without_locks,
                                 .found = qb_checked_note,
                                 .found_arg = k,
                                 .memory_limit = turn->memory,
                                 .file = turn->file};

    k->seconds = qb_now();
    k->started = f->batch->origin.started + k->seconds - f->began;
    k->counted = qb_check_run(io, k->path, &wish, &k->result) == 0;
    k->seconds = qb_now() - k->seconds;
    qb_checked_end(k);
}

static struct qb_checked nothing_yet(const struct fleet *f, size_t i)
{
    bool listed = f->options->json || qb_sinks_want_checked(f->options->sinks);

    return (struct qb_checked){.path = f->batch->jobs[i].path,
                               .job = i,
                               .level = f->options->level,
                               .without_locks = f->options->without_locks,
                               .most = listed      ? LISTED_MAX
                                       : f->by_row ? SHOWN_MAX
                                                   : 1,
                               .most_in_all = FINDINGS_MAX,
                               .bytes_most = f->batch->limits.per_image.report_bytes,
                               .shown = SHOWN_MAX};
}

static bool is_silent(const struct fleet *f, const struct qb_checked *k)
{
    bool sound = qb_checked_verdict(k) == QB_VERDICT_CLEAN && k->n_findings == 0;

    return sound && (f->options->quiet || f->batch->n_jobs > 1);
}

static void print_row(FILE *out, const struct fleet *f, const struct qb_checked *k)
{
    if (!k->counted || is_silent(f, k))
        return;
    if (!f->options->quiet || k->n_findings || k->result->corruptions + k->result->leaks)
        qb_checked_print(out, k, f->batch->n_jobs > 1);
    if (!f->options->quiet)
        qb_checked_print_numbers(out, k->result);
}

/* What the order of the images makes wait is text: findings would take several times the memory. */
static struct qb_answer answer_of(const struct fleet *f, const struct qb_checked *k)
{
    const struct qb_failure *err = qb_checked_failure(k);
    enum qb_verdict verdict = qb_checked_verdict(k);
    struct qb_answer a = {.verdict = verdict,
                          .code = err->code,
                          .failed =
                              verdict == QB_VERDICT_CORRUPT || verdict == QB_VERDICT_UNCHECKED};
    FILE *out = f->options->json || f->by_row ? open_memstream(&a.text, &a.len) : NULL;

    if (out && f->options->json)
        a.lost = qb_line_checked(out, k) < 0;
    else if (out)
        print_row(out, f, k);
    else if (!f->options->json && !f->by_row && verdict != QB_VERDICT_CLEAN)
        a.text = qb_check_table_text(k);
    if (out)
        a.lost |= fclose(out) != 0;
    if (f->by_row && !f->options->json && err->code != QB_E_NONE)
        a.failure = qb_failure_line("qbatch check", k->path, err);
    a.len = a.text && !out ? strlen(a.text) : a.len;
    a.lost |= !a.text && (f->options->json || f->by_row || verdict != QB_VERDICT_CLEAN);
    a.lost |= !qb_sinks_checked_texts(f->options->sinks, f->batch, k, a.files);
    return a;
}

static enum qb_each_outcome answer(void *arg, struct qb_io *io, size_t i,
                                   const struct qb_each_turn *turn, struct qb_answer *out)
{
    const struct fleet *f = arg;
    QB_AUTO(qb_checked_free) struct qb_checked k = nothing_yet(f, i);

    check_within(f, io, turn, &k);
    if (!k.counted && k.result->err.code == QB_E_CANCELLED)
        return QB_EACH_STOPPED;
    if (!k.counted && k.result->err.code == QB_E_MEMORY && !turn->is_all)
        return QB_EACH_CROWDED;
    *out = answer_of(f, &k);
    return QB_EACH_ANSWERED;
}

static void lose(void *arg, size_t i, const struct qb_err *err, bool begun, struct qb_answer *out)
{
    const struct fleet *f = arg;
    QB_AUTO(qb_checked_free) struct qb_checked k = nothing_yet(f, i);

    (void)begun;
    k.started = f->batch->origin.started + qb_now() - f->began;
    qb_check_fail(err, &k.result);
    qb_checked_end(&k);
    *out = answer_of(f, &k);
}

/* ---- the answers, in order ------------------------------------------------------------------- */

/* Of a large batch equal answers are one line at the end. */
static bool take(void *arg, size_t i, const struct qb_answer *a)
{
    struct fleet *f = arg;

    f->sum->of[a->verdict]++;
    f->table.incomplete |= a->lost;
    qb_sinks_checked(f->options->sinks, i, a->files, a->lost);
    if (f->options->json || f->by_row)
        return true;
    if (a->verdict != QB_VERDICT_CLEAN)
        qb_check_table_add(&f->table, i, (enum qb_verdict)a->verdict, a->code, a->text);
    return false;
}

/* ---- all ------------------------------------------------------------------------------------- */

int qb_check_all(const struct qb_batch *batch, const struct qb_check_options *options,
                 struct qb_check_summary *sum, int *stdout_errno, struct qb_err *err)
{
    struct fleet f = {.batch = batch,
                      .options = options,
                      .sum = sum,
                      .began = qb_now(),
                      .by_row = options->all_rows || batch->n_jobs <= QB_CHECK_SHOWN_WHOLE};
    bool hidden = options->quiet && options->watching == QB_WATCH_AUTO;
    const struct qb_each each = {.batch = batch,
                                 .program = "qbatch check",
                                 .io = options->io,
                                 .jobs = options->jobs,
                                 .watching = hidden ? QB_WATCH_NONE : options->watching,
                                 .doing = QB_DOING_CHECKING,
                                 .out = options->out,
                                 .confining = options->confining,
                                 .arg = &f,
                                 .answer = answer,
                                 .take = take,
                                 .lose = lose,
                                 .verdicts = QB_VERDICT_COUNT,
                                 .json = options->json,
                                 .escapes = !options->json && !f.by_row};
    struct qb_each_sum done;

    qb_check_table_start(&f.table, batch, options->out, options->quiet);
    if (qb_each_image(&each, &done, err) < 0)
        return -1;
    sum->images = done.images;
    sum->not_reached = done.not_reached;
    sum->seconds = done.seconds;
    sum->sandboxed = &options->confining->sandboxed;
    sum->incomplete = f.table.incomplete;
    sum->gave_up = done.gave_up;
    *stdout_errno = done.stdout_errno;
    if (!options->json && batch->n_jobs > 1)
        qb_check_table_end(&f.table, sum);
    if (options->without_locks && !options->json && !options->quiet)
        fputs("note: no locks were taken: of an image in use the answer may be out of date\n",
              options->out);
    return 0;
}
