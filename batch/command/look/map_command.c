/* `qbatch map`: what `qemu-img map` tells, of many images.  A map may have any number of runs, so
 * it is shown in parts, once it is the turn of its image. */
#include <stdlib.h>

#include "amend/image_facts.h"
#include "base/own.h"
#include "common/commands.h"
#include "io/budget.h"
#include "look/show_each.h"
#include "text/failure.h"
#include "text/map_show.h"

enum {
    PART_BYTES = 256 << 10,
    MEMORY_SHARE = 4, /* a worker's memory, divided by that, is enough for a directory of bitmaps */
};

/* The map of an image that is being shown. */
struct writing {
    const struct qb_show *show;
    const struct qb_each_turn *turn;
    size_t image;
    FILE *to; /* NULL: there was no memory for it */
    struct qb_answer part;
    const char *path;
    const struct qb_budget *budget;
    uint64_t bytes; /* of its runs, written so far */
    bool some;      /* there was a run */
    bool passed;    /* a part was passed on */
    struct qb_measure measure;
    struct qb_measured measured; /* once all runs were written */
};

static bool open_part(struct writing *w)
{
    w->part = (struct qb_answer){.is_part = true};
    w->to = open_memstream(&w->part.text, &w->part.len);
    return w->to != NULL;
}

static void drop_part(struct writing *w)
{
    free(qb_take(&w->part.text));
    w->part.len = 0;
}

static bool close_part(struct writing *w)
{
    FILE *to = qb_take(&w->to);

    return to && fclose(to) == 0 && w->part.text;
}

static int pass_part(struct writing *w, struct qb_err *err)
{
    bool ok = close_part(w);

    if (ok && !qb_each_pass(w->turn, w->image, &w->part))
        return drop_part(w), qb_fail(err, QB_E_CANCELLED, QB_NOWHERE, "it was interrupted");
    w->passed |= ok;
    drop_part(w);
    return ok && open_part(w) ? 0 : qb_fail_memory(err);
}

/* Of an image that fails before its first run, the failure is all that is shown. */
static void begin_text(struct writing *w)
{
    if (!w->show->json && !w->some)
        qb_map_text_begin(w->to, w->path, w->show->batch->n_jobs > 1);
}

static uint64_t report_budget(const struct writing *w)
{
    uint64_t asked = w->show->batch->limits.per_image.report_bytes;

    return asked ? asked : qb_budget_report(w->budget->occupied);
}

static int write_run(void *arg, const struct qb_disk_run *run, struct qb_err *err)
{
    struct writing *w = arg;
    off_t from = ftello(w->to);

    begin_text(w);
    if (w->show->json)
        qb_map_json_run(w->to, run, !w->some);
    else
        qb_map_text_run(w->to, run);
    w->some = true;
    qb_measure_run(&w->measure, run);
    w->bytes += (uint64_t)(ftello(w->to) - from);
    if (w->bytes > report_budget(w))
        return qb_fail(err, QB_E_OVER_BUDGET, QB_NOWHERE,
                       "the map is longer than its files explain (limits.per_image.report)");
    return ftello(w->to) < PART_BYTES ? 0 : pass_part(w, err);
}

static int write_all(struct writing *w, struct qb_io *io, struct qb_image_facts *facts,
                     struct qb_err *err)
{
    if (qb_disk_map(io, &facts->file, w->show->without_locks, write_run, w, err) < 0)
        return -1;
    begin_text(w);
    w->measured = qb_measure_end(&w->measure, &facts->img, &facts->bitmaps, facts->virtual_size);
    if (!w->show->json)
        qb_map_text_end(w->to, &w->measured);
    return 0;
}

static int begin(struct writing *w)
{
    if (!open_part(w))
        return -1;
    return w->show->json ? qb_map_json_begin(w->to, w->path, w->show->without_locks) : 0;
}

static int map(struct writing *w, struct qb_io *io, const char *path, struct qb_err *err)
{
    QB_AUTO(qb_image_facts_close) struct qb_image_facts facts = {.file.fd = -1};

    if (begin(w) < 0)
        return qb_fail_memory(err);
    if (qb_image_facts_read(io, path, w->turn->file, w->show->without_locks,
                            w->turn->memory / MEMORY_SHARE, &facts, err) < 0)
        return -1;
    return write_all(w, io, &facts, err);
}

/* The end of the text: what is left of it, and why there is no more. */
static struct qb_answer rest_of(struct writing *w, const char *path, const struct qb_err *err)
{
    struct qb_failure failure = err ? qb_failure_of(err) : (struct qb_failure){.code = QB_E_NONE};
    struct qb_answer a = {.failed = err != NULL, .code = failure.code};

    a.lost = !w->to && !open_part(w);
    if (w->to && w->show->json)
        a.lost |= qb_map_json_end(w->to, &failure, &w->measured) < 0;
    a.lost |= !close_part(w);
    a.text = qb_take(&w->part.text);
    a.len = w->part.len;
    if (err && !w->show->json && err->code != QB_E_CANCELLED) /* the last line says so */
        a.failure = qb_failure_line(w->show->program, path, &failure);
    return a;
}

/* A map of which a part was shown has an end, too, when it is interrupted. */
static enum qb_each_outcome answer(void *show, struct qb_io *io, size_t i,
                                   const struct qb_each_turn *turn, struct qb_answer *out)
{
    const char *path = ((struct qb_show *)show)->batch->jobs[i].path;
    struct writing w = {
        .show = show, .turn = turn, .image = i, .path = path, .budget = qb_io_budget(io)};
    struct qb_err err = {.offset = QB_NOWHERE};
    int r = map(&w, io, path, &err);

    if (r < 0 && err.code == QB_E_CANCELLED && !w.passed) {
        close_part(&w);
        drop_part(&w);
        return QB_EACH_STOPPED;
    }
    *out = rest_of(&w, path, r < 0 ? &err : NULL);
    return QB_EACH_ANSWERED;
}

static void lose(void *show, size_t i, const struct qb_err *err, bool begun, struct qb_answer *out)
{
    const char *path = ((struct qb_show *)show)->batch->jobs[i].path;
    struct writing w = {.show = show, .image = i, .path = path};

    if (begun ? open_part(&w) : begin(&w) == 0) {
        *out = rest_of(&w, path, err);
        return;
    }
    close_part(&w);
    drop_part(&w);
    *out = (struct qb_answer){.failed = true, .lost = true};
}

static int show(const struct qb_cli *cli, const struct qb_batch *batch,
                struct qb_confining *confining, int *code, int *stdout_errno, struct qb_err *err)
{
    struct qb_show s = qb_show_of(cli, batch);

    s.confining = confining;
    return qb_show_each(&s, cli, answer, lose, code, stdout_errno, err);
}

int qb_command_map(const struct qb_cli *cli)
{
    return qb_each_command(cli, show);
}
