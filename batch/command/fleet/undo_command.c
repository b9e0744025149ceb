/* `qbatch undo`: selects the images of a run, and calls undo_run.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/commands.h"
#include "fleet/earlier.h"
#include "undoing/discard.h"
#include "record/report_json.h"
#include "common/overrides.h"
#include "common/output.h"
#include "util/signal.h"
#include "undoing/undo_run.h"
#include "util/text.h"

/* What an undo works with. */
struct undoing {
    const struct qb_cli *cli;
    struct qb_earlier e;
};

static bool is_of_step(const struct undoing *u, const struct qb_trace *t)
{
    return u->cli->step == 0 || t->step == u->cli->step;
}

/* Giving up an undo is possible where one is not: what the run kept, it kept before it amended. */
static bool is_meant(const struct undoing *u, const struct qb_trace *t)
{
    if (!is_of_step(u, t))
        return false;
    if (qb_cli_has(u->cli, QB_OPTION_DISCARD))
        return t->has_undo && !t->undone && !t->discarded;
    return qb_trace_holds_undo(t);
}

/* What was done already to an image that was named. */
static const char *done_already(const struct qb_trace *t)
{
    if (t->clones.restored)
        return "this was restored from its clone";
    return t->undone ? "this was undone" : "what an undo needs was freed";
}

static int add_named(struct undoing *u, const char *word, struct qb_err *err)
{
    const struct qb_trace *t = qb_earlier_find(&u->e, word, err);

    if (!t)
        return -1;
    if (!is_of_step(u, t))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%.200s: not an image of step %u", word,
                       u->cli->step);
    if (t->discarded || (t->undone && !is_meant(u, t)))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "%.200s: %s already", word, done_already(t));
    if (!is_meant(u, t))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       t->has_undo ? "%.200s: the journal does not tell that the run amended it"
                                   : "%.200s: the run kept nothing of it; see keep_undo",
                       word);
    return qb_earlier_add(&u->e, t, err);
}

/* All of the run: what can be undone, and, to be reported as not undone, the other images that the
 * run changed. */
static int add_all(struct undoing *u, struct qb_err *err)
{
    const struct qb_history *h = &u->e.history;
    bool discard = qb_cli_has(u->cli, QB_OPTION_DISCARD), some = false;
    int r = 0;

    for (size_t i = 0; i < h->traces.n; i++)
        some |= is_meant(u, &h->traces.items[i]);
    for (size_t i = 0; r == 0 && some && i < h->traces.n; i++) {
        const struct qb_trace *t = &h->traces.items[i];

        if (is_meant(u, t) || (!discard && t->committed && !t->undone && is_of_step(u, t)))
            r = qb_earlier_add(&u->e, t, err);
    }
    return r;
}

static int fail_empty(const struct undoing *u, struct qb_err *err)
{
    const struct qb_history *h = &u->e.history;
    bool some = u->cli->step == 0, undone = false;
    char step[32] = "";

    qb_vec_each (t, &h->traces) {
        some |= is_of_step(u, t) && t->committed;
        undone |= is_of_step(u, t) && t->undone;
    }
    if (u->cli->step)
        snprintf(step, sizeof(step), "step %u of ", u->cli->step);
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   undone ? "%srun %s was undone already"
                   : some ? "%srun %s holds nothing that can be undone"
                          : "%srun %s changed no image",
                   step, h->id);
}

static int choose(struct undoing *u, struct qb_err *err)
{
    size_t n_words = u->cli->n_operands - 1;
    int r = 0;

    for (size_t i = 0; r == 0 && i < n_words; i++)
        r = add_named(u, u->cli->operands[1 + i], err);
    if (r == 0 && n_words == 0)
        r = add_all(u, err);
    if (r == 0 && u->e.batch.n_jobs == 0)
        return fail_empty(u, err);
    return r;
}

int qb_command_undo(const struct qb_cli *cli)
{
    bool discards = qb_cli_has(cli, QB_OPTION_DISCARD);
    struct undoing u = {.cli = cli};
    struct qb_err err;
    int code = QB_EXIT_USAGE;

    if (qb_earlier_open(&u.e, cli, cli->operands[0], &err) == 0 && choose(&u, &err) == 0) {
        code = qb_earlier_work(&u.e, cli, discards ? qb_discard_run : qb_takeback_run,
                               discards ? "status may still promise an undo"
                                        : "status may not know what was undone, and --resume "
                                          "amends it again");
    } else {
        fputs("qbatch undo: ", stderr);
        qb_text_safe(stderr, err.text);
        fputc('\n', stderr);
        if (qb_cli_has(cli, QB_OPTION_JSON))
            qb_line_abort(stdout, err.text, QB_EXIT_USAGE);
        code = qb_stdout_end(QB_EXIT_USAGE);
    }
    qb_earlier_close(&u.e);
    return code;
}
