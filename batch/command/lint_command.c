/* `qbatch lint`: what can be known of a manifest without opening an image. */
#include <stdio.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "command/commands.h"
#include "command/output.h"
#include "util/exit_code.h"
#include "util/signal.h"
#include "util/text.h"

enum { SHOWN_MAX = 20 }; /* mistakes; more are counted */

struct linting {
    const char *manifest;
    size_t found;
};

static void tell(struct linting *l, unsigned line, const char *what, const char *path)
{
    if (l->found++ >= SHOWN_MAX)
        return;
    qb_text_safe(stderr, l->manifest);
    fprintf(stderr, ":%u: error: %s", line, what);
    qb_text_safe(stderr, path);
    fputc('\n', stderr);
}

/* Two keys of an entry that exclude each other, whatever the image is. */
static const char *contradiction(const struct qb_request *rq)
{
    if (!(rq->set & QB_KEY_COMPAT) || rq->compat != 2)
        return NULL;
    if ((rq->set & QB_KEY_REFCOUNT_BITS) && rq->refcount_bits != 16)
        return "compat: 0.10 supports refcount_bits: 16 only";
    if ((rq->set & QB_KEY_LAZY_REFCOUNTS) && rq->lazy_refcounts)
        return "compat: 0.10 does not support lazy_refcounts";
    return NULL;
}

static void look_at_jobs(struct linting *l, const struct qb_batch *batch)
{
    unsigned last = 0;

    for (size_t i = 0; i < batch->n_jobs && !qb_signal_seen(); i++) {
        const struct qb_job *job = &batch->jobs[i];
        const char *why = contradiction(&job->request);
        struct stat st;

        if (why && job->line != last)
            tell(l, job->line, why, "");
        if (why)
            last = job->line;
        if (job->ino == 0 && stat(job->path, &st) < 0)
            tell(l, job->line, "there is no file ", job->path);
    }
    if (l->found > SHOWN_MAX)
        fprintf(stderr, "... and %zu more\n", l->found - SHOWN_MAX);
}

int qb_command_lint(const struct qb_cli *cli)
{
    struct linting l = {.manifest = cli->operands[0]};
    struct qb_batch batch;
    char count[QB_TEXT_NUMBER];
    int code = QB_EXIT_USAGE;

    if (qb_command_load(cli, &batch) == 0) {
        look_at_jobs(&l, &batch);
        code = l.found ? QB_EXIT_USAGE : QB_EXIT_OK;
    }
    if (code == QB_EXIT_OK && !qb_cli_has(cli, QB_OPTION_QUIET)) {
        qb_text_safe(stdout, cli->operands[0]);
        printf(": OK, %s image%s\n", qb_text_count(batch.n_jobs, count),
               batch.n_jobs == 1 ? "" : "s");
    }
    qb_batch_free(&batch);
    return qb_signal_seen() ? QB_EXIT_INTERRUPTED : qb_stdout_end(code);
}
