#include "common/finish.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/sizing.h"
#include "shard/shard.h"
#include "util/text.h"

static bool is_among(const char *word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (words[i] == word)
            return true;
    return false;
}

/* What names a run is left out, and a shard is named by its number: "auto" would mean another one,
 * or none, where the command is given again. */
static bool is_replaced(const struct qb_cli *cli, const char *word)
{
    return is_among(word, cli->runs.items, cli->runs.n) ||
           is_among(word, cli->shards.items, cli->shards.n);
}

/* The command of an `amend` lists the remaining images: its operands are left out. */
static void put_words(FILE *f, const struct qb_cli *cli)
{
    char shard[QB_SHARD_TEXT];
    size_t n = cli->argc - (cli->command == QB_COMMAND_AMEND ? cli->n_operands : 0);

    if (cli->shard.of)
        fprintf(f, " --shard=%s", qb_shard_text(cli->shard, shard));
    for (size_t i = 0; i < n; i++) {
        if (is_replaced(cli, cli->argv[i]) ||
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
    if (cli->command == QB_COMMAND_APPLY) /* before the first blank: see qb_finish_resume */
        fputs("apply", f);
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
        return r->err.code != QB_E_WHEN && r->err.code != QB_E_UNDONE &&
               r->err.code != QB_E_BY_HAND;
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

/* Whether these words, from the first blank on, are among those that were typed. */
static bool is_typed(const char *typed, const char *words)
{
    const char *at = *words ? strstr(typed, words) : NULL;

    return at && (at[strlen(words)] == ' ' || !at[strlen(words)]);
}

char *qb_finish_resume(const char *run, const char *options, const char *typed)
{
    size_t verb = strcspn(typed, " ");
    char *text = NULL;

    if (is_typed(typed, options))
        options = "";

    return asprintf(&text, "qbatch%s%.*s --resume=%s%s%s", verb ? " " : "", (int)verb, typed, run,
                    options, typed + verb) < 0
               ? NULL
               : text;
}

static bool is_run(const struct qb_cli *cli)
{
    return cli->command == QB_COMMAND_RUN || cli->command == QB_COMMAND_APPLY;
}

char *qb_finish_command(const struct qb_cli *cli, const struct qb_batch *batch, const size_t *left,
                        size_t n, bool asked)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f;

    if (n == 0 || !batch->typed || qb_cli_has(cli, QB_OPTION_DRY_RUN))
        return NULL;
    if (is_run(cli) && batch->run_id[0])
        return qb_finish_resume(batch->run_id, asked ? " --yes" : "", batch->typed);
    if (is_run(cli) && qb_finish_adds(batch))
        return NULL;
    f = open_memstream(&text, &len);
    if (!f)
        return NULL;
    fprintf(f, "qbatch%s%s",
            cli->command == QB_COMMAND_AMEND   ? " amend"
            : cli->command == QB_COMMAND_APPLY ? " "
                                               : "",
            batch->typed);
    if (cli->command == QB_COMMAND_AMEND)
        fputs(" --", f);
    for (size_t i = 0; cli->command == QB_COMMAND_AMEND && i < n; i++) {
        fputc(' ', f);
        qb_text_shell(f, batch->jobs[left[i]].path);
    }
    fclose(f);
    return text;
}
