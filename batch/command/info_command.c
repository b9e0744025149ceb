/* `qbatch info`: what `qemu-img info` tells, of many images. */
#include <string.h>

#include "base/own.h"
#include "cli/cli_check.h"
#include "command/commands.h"
#include "command/each_image.h"
#include "report/failure.h"
#include "report/info.h"
#include "util/exit_code.h"
#include "util/text.h"

enum {
    WIDTH_MAX = 60,       /* columns for the names of images */
    MEMORY_PER_BYTE = 32, /* an entry of a table takes so much more while it is made a text */
};

struct shown {
    const struct qb_batch *batch;
    const char *program;
    int width; /* of the names */
    bool json, without_locks;
    struct qb_info_summary sum;
};

/* ---- one image, by a worker ------------------------------------------------------------------ */

static void print(const struct shown *s, FILE *out, const char *path,
                  const struct qb_image_facts *facts, struct qb_answer *a)
{
    if (s->json)
        a->lost = qb_line_info(out, path, facts, s->without_locks) < 0;
    else if (s->batch->n_jobs == 1)
        qb_info_print(out, path, facts);
    else
        qb_info_row(out, s->width, path, facts);
}

static void print_failure(const struct shown *s, FILE *out, const char *path,
                          const struct qb_err *err, struct qb_answer *a)
{
    struct qb_failure failure = qb_failure_of(err);

    a->failed = true;
    if (s->json)
        a->lost = qb_line_info_failed(out, path, &failure, s->without_locks) < 0;
    else
        a->failure = qb_failure_line(s->program, path, &failure);
    a->lost |= !s->json && !a->failure;
}

/* `err` is NULL where the facts were read. */
static struct qb_answer answer_of(const struct shown *s, const char *path,
                                  const struct qb_image_facts *facts, const struct qb_err *err)
{
    struct qb_answer a = {0};
    FILE *out = open_memstream(&a.text, &a.len);

    if (out && err)
        print_failure(s, out, path, err, &a);
    else if (out)
        print(s, out, path, facts, &a);
    a.failed |= !out;
    a.lost |= !out || fclose(out) != 0 || !a.text;
    return a;
}

static enum qb_each_outcome answer(void *arg, struct qb_io *io, size_t i,
                                   struct qb_each_memory memory, struct qb_answer *out)
{
    const struct shown *s = arg;
    const char *path = s->batch->jobs[i].path;
    QB_AUTO(qb_image_facts_close) struct qb_image_facts facts;
    struct qb_err err = {.offset = QB_NOWHERE};
    bool failed = qb_image_facts_read(io, path, s->without_locks, memory.bytes / MEMORY_PER_BYTE,
                                      &facts, &err) < 0;

    if (failed && err.code == QB_E_CANCELLED)
        return QB_EACH_STOPPED;
    if (failed && err.code == QB_E_MEMORY && !memory.is_all)
        return QB_EACH_CROWDED;
    *out = answer_of(s, path, &facts, failed ? &err : NULL);
    return QB_EACH_ANSWERED;
}

/* ---- all ------------------------------------------------------------------------------------- */

static bool take(void *arg, size_t i, const struct qb_answer *a)
{
    struct shown *s = arg;

    (void)i;
    s->sum.failed += a->failed;
    s->sum.incomplete |= a->lost;
    return true;
}

static int width_of(const struct qb_batch *batch)
{
    size_t widest = strlen("image");

    for (size_t i = 0; i < batch->n_jobs && widest < WIDTH_MAX; i++)
        widest = QB_MAX(widest, qb_text_columns(batch->jobs[i].path));
    return (int)QB_MIN(widest, WIDTH_MAX);
}

static void finish(struct shown *s, const struct qb_each_sum *done, int *code)
{
    s->sum.images = done->images;
    s->sum.not_reached = done->not_reached;
    s->sum.seconds = done->seconds;
    *code = done->not_reached                    ? QB_EXIT_INTERRUPTED
            : s->sum.failed || s->sum.incomplete ? QB_EXIT_FAILED
                                                 : QB_EXIT_OK;
    if (s->sum.incomplete)
        fprintf(stderr, "%s: memory was short: some images are missing above\n", s->program);
    if (done->stdout_errno)
        return;
    if (s->json)
        qb_line_info_summary(stdout, &s->sum, *code);
    else if (s->batch->n_jobs > 1)
        qb_info_end(stdout, &s->sum);
}

static int show(const struct qb_cli *cli, const struct qb_batch *batch, int *code,
                int *stdout_errno, struct qb_err *err)
{
    struct shown s = {.batch = batch,
                      .program = qb_cli_program(cli->command),
                      .width = width_of(batch),
                      .json = qb_cli_has(cli, QB_OPTION_JSON),
                      .without_locks = qb_cli_has(cli, QB_OPTION_FORCE_SHARE)};
    const struct qb_each each = {.batch = batch,
                                 .io = cli->io,
                                 .jobs = cli->jobs,
                                 .watching = cli->watching,
                                 .doing = "reading",
                                 .out = stdout,
                                 .arg = &s,
                                 .answer = answer,
                                 .take = take};
    struct qb_each_sum done;

    if (!s.json && batch->n_jobs > 1)
        qb_info_head(stdout, s.width);
    if (qb_each_image(&each, &done, err) < 0)
        return -1;
    finish(&s, &done, code);
    *stdout_errno = done.stdout_errno;
    return 0;
}

int qb_command_info(const struct qb_cli *cli)
{
    return qb_each_command(cli, show);
}
