#include "common/finish.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/sizing.h"
#include "util/text.h"

static bool is_of_run(const struct qb_cli *cli, const char *word)
{
    for (size_t i = 0; i < cli->runs.n; i++)
        if (cli->runs.items[i] == word)
            return true;
    return false;
}

/* The command of an `amend` lists the remaining images: its operands are left out. */
static void put_words(FILE *f, const struct qb_cli *cli)
{
    size_t n = cli->argc - (cli->command == QB_COMMAND_AMEND ? cli->n_operands : 0);

    for (size_t i = 0; i < n; i++) {
        if (is_of_run(cli, cli->argv[i]) ||
            (cli->command == QB_COMMAND_AMEND && strcmp(cli->argv[i], "--") == 0))
            continue;
        fputc(' ', f);
        qb_text_shell(f, cli->argv[i]);
    }
}

bool qb_finish_note(const struct qb_cli *cli, const char *dir, struct qb_batch *batch)
{
    const char *systemd = getenv("STATE_DIRECTORY");
    bool typed = qb_cli_text(cli, QB_OPTION_STATE) != NULL, elsewhere = systemd && *systemd;
    QB_AUTO(qb_buf) char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        return false;
    if (dir && !typed && elsewhere) {
        fputs(" --state ", f);
        qb_text_shell(f, dir);
    }
    put_words(f, cli);
    if (fclose(f) != 0)
        return false;
    batch->typed = qb_take(&text);
    batch->state_dir = dir && (typed || elsewhere) ? strdup(dir) : NULL;
    return true;
}

bool qb_finish_leaves(const struct qb_result *r)
{
    switch (r->status) {
    case QB_STATUS_FAILED: /* after a mismatch, an undo comes first */
        return !(r->err.code == QB_E_VERIFY && r->committed);
    case QB_STATUS_SKIPPED:
        return r->err.code != QB_E_WHEN && r->err.code != QB_E_UNDONE;
    default:
        return r->status == QB_STATUS_INTERRUPTED;
    }
}

bool qb_finish_can_help(const struct qb_result *r)
{
    return qb_finish_leaves(r) &&
           (r->status == QB_STATUS_INTERRUPTED || qb_code_retryable(r->err.code));
}

bool qb_finish_can_help_run(const struct qb_history *h)
{
    uint64_t left = 0;

    if (!qb_history_is_unfinished(h))
        return false;
    if (!h->ended || h->left > 0)
        return true;
    for (size_t i = 0; i < h->traces.n; i++) {
        const struct qb_trace *t = &h->traces.items[i];

        if (!qb_trace_is_left(t) || (t->code == QB_E_VERIFY && t->committed))
            continue;
        if (!t->ended || t->status == QB_STATUS_INTERRUPTED || qb_code_retryable(t->code))
            return true;
        left++;
    }
    return left < h->to_finish; /* records of some are lost */
}

bool qb_finish_adds(const struct qb_batch *batch)
{
    for (size_t i = 0; i < batch->n_jobs; i++)
        if (qb_sizing_adds(&batch->jobs[i].request) || batch->jobs[i].size_added)
            return true;
    return false;
}

char *qb_finish_resume(const char *run, const char *options, const char *typed)
{
    char *text = NULL;

    return asprintf(&text, "qbatch --resume=%s%s%s", run, options, typed) < 0 ? NULL : text;
}

char *qb_finish_command(const struct qb_cli *cli, const struct qb_batch *batch, const size_t *left,
                        size_t n)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f;

    if (n == 0 || !batch->typed || qb_cli_has(cli, QB_OPTION_DRY_RUN))
        return NULL;
    if (cli->command == QB_COMMAND_RUN && batch->run_id[0])
        return qb_finish_resume(batch->run_id, "", batch->typed);
    if (cli->command == QB_COMMAND_RUN && qb_finish_adds(batch))
        return NULL;
    f = open_memstream(&text, &len);
    if (!f)
        return NULL;
    fprintf(f, "qbatch%s%s", cli->command == QB_COMMAND_AMEND ? " amend" : "", batch->typed);
    if (cli->command == QB_COMMAND_AMEND)
        fputs(" --", f);
    for (size_t i = 0; cli->command == QB_COMMAND_AMEND && i < n; i++) {
        fputc(' ', f);
        qb_text_shell(f, batch->jobs[left[i]].path);
    }
    fclose(f);
    return text;
}
