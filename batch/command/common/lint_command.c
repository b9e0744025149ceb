/* `qbatch lint`: checks a manifest, and opens no image except for those of `chain`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "base/sizing.h"
#include "cli/cli.h"
#include "common/commands.h"
#include "common/output.h"
#include "common/overrides.h"
#include "manifest/manifest_text.h"
#include "util/exit_code.h"
#include "util/signal.h"
#include "util/text.h"

enum { SHOWN_MAX = 20 }; /* mistakes; more are counted */

/* The whole of a line, without its indent and dash: what stands in it is what is wrong. */
static struct qb_place place_of(const struct qb_diags *diags, unsigned line)
{
    const char *at = diags->source, *end = at + diags->source_len, *stop;
    struct qb_place place = {line, 1, 0};

    if (diags->list.n >= SHOWN_MAX) /* each look for a line goes through the text */
        return place;
    for (unsigned n = 1; at && n < line; n++) {
        at = memchr(at, '\n', (size_t)(end - at));
        at = at ? at + 1 : NULL;
    }
    if (!at) /* standard input was read already */
        return place;
    stop = at + strcspn(at, "\r\n");
    for (; at < stop && (*at == ' ' || (*at == '-' && at[1] == ' ')); at++)
        place.column++;
    for (; at < stop; at += qb_max(qb_text_utf8(at), 1))
        place.length++;
    return place;
}

/* What an entry cannot ask for, whatever the image is. */
static const char *contradiction(const struct qb_request *rq)
{
    if (qb_sizing_may_shrink(rq) && rq->size < 1u << 20 && rq->size % 512)
        return "the size is not a multiple of 512 bytes; is its unit missing, such as G?";
    if (!(rq->set & QB_KEY_COMPAT) || rq->compat != 2)
        return NULL;
    if ((rq->set & QB_KEY_REFCOUNT_BITS) && rq->refcount_bits != 16)
        return "compat: 0.10 supports refcount_bits: 16 only";
    if ((rq->set & QB_KEY_LAZY_REFCOUNTS) && rq->lazy_refcounts)
        return "compat: 0.10 does not support lazy_refcounts";
    return NULL;
}

/* What a run would fail just this image for. */
static void look_at_path(struct qb_diags *diags, const struct qb_job *job)
{
    struct qb_place at;
    struct stat st;

    if (stat(job->path, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
        return;
    at = place_of(diags, job->line);
    if (stat(job->path, &st) < 0)
        qb_diag_add(diags, QB_M_NO_MATCH, at, NULL, "there is no file %s", job->path);
    else if (S_ISDIR(st.st_mode))
        qb_diag_add(diags, QB_M_NO_MATCH, at, NULL,
                    "%s is a directory; write %s%s*.qcow2 for the images in it", job->path,
                    job->path, job->path[strlen(job->path) - 1] == '/' ? "" : "/");
    else
        qb_diag_add(diags, QB_M_NO_MATCH, at, NULL, "%s is neither a file nor a block device",
                    job->path);
}

/* Steps that some other number of images would make right: a run takes them as far as they go. */
static void look_at_rollout(struct qb_diags *diags, const struct qb_batch *batch)
{
    const struct qb_rollout *rollout = &batch->rollout;
    uint64_t before = 0;

    for (size_t i = 0; i < rollout->steps.n; i++) {
        uint64_t images = qb_step_images(rollout->steps.items[i], batch->n_jobs);

        if (images > batch->n_jobs)
            qb_diag_add(diags, QB_M_BAD_VALUE, place_of(diags, rollout->line), NULL,
                        "step %zu is to change %llu images, and there are %zu", i + 1,
                        (unsigned long long)images, batch->n_jobs);
        else if (images < before)
            qb_diag_add(diags, QB_M_BAD_VALUE, place_of(diags, rollout->line), NULL,
                        "step %zu ends with %llu images, and the one before it with %llu", i + 1,
                        (unsigned long long)images, (unsigned long long)before);
        before = images;
    }
}

/* The images after each step: "1, 6, 52, then all". */
static void print_rollout(const struct qb_batch *batch)
{
    uint64_t targets[QB_STEPS_MAX];
    unsigned n = qb_step_targets(&batch->rollout, batch->n_jobs, targets);
    char count[QB_TEXT_NUMBER];

    if (n < 2)
        return;
    fputs("rollout: ", stdout);
    for (unsigned i = 0; i < n - 1; i++)
        printf("%s, ", qb_text_count(targets[i], count));
    fputs("then all\n", stdout);
}

static void look_at_jobs(struct qb_diags *diags, const struct qb_batch *batch)
{
    unsigned told = 0;

    for (size_t i = 0; i < batch->n_jobs && !qb_signal_seen(); i++) {
        const struct qb_job *job = &batch->jobs[i];
        const char *why = contradiction(&job->request);

        if (why && job->line != told)
            qb_diag_add(diags, QB_M_BAD_VALUE, place_of(diags, job->line), NULL, "%s", why);
        told = why ? job->line : told;
        if (job->chain_fault) /* of which one image fails in a run */
            qb_diag_add(diags, QB_M_FILE, place_of(diags, job->line), NULL, "%s: %.400s", job->path,
                        job->chain_fault->text);
        else
            look_at_path(diags, job);
    }
    look_at_rollout(diags, batch);
    while (diags->list.n > SHOWN_MAX) {
        free(diags->list.items[--diags->list.n].text);
        diags->lost++;
    }
}

/* The manifest once more, for its lines; of one from standard input only their numbers are known.
 */
static void load_text(struct qb_diags *diags, const char *manifest)
{
    if (strcmp(manifest, "-") == 0)
        qb_diags_init(diags, "<stdin>", NULL, 0);
    else
        qb_source_load(manifest, diags);
}

int qb_command_lint(const struct qb_cli *cli)
{
    struct qb_batch batch;
    struct qb_diags diags = {0};
    char count[QB_TEXT_NUMBER];
    int code = QB_EXIT_USAGE;

    if (qb_command_load(cli, &batch) == 0) {
        load_text(&diags, cli->operands[0]);
        look_at_jobs(&diags, &batch);
        qb_diags_render(&diags, stderr);
        code = qb_diags_count(&diags) ? QB_EXIT_USAGE : QB_EXIT_OK;
    }
    if (code == QB_EXIT_OK && !qb_cli_has(cli, QB_OPTION_QUIET)) {
        qb_text_safe(stdout, cli->operands[0]);
        printf(": OK, %s image%s\n", qb_text_count(batch.n_jobs, count),
               batch.n_jobs == 1 ? "" : "s");
        print_rollout(&batch);
    }
    qb_diags_free(&diags);
    qb_batch_free(&batch);
    return qb_signal_seen() ? QB_EXIT_INTERRUPTED : qb_stdout_end(code);
}
