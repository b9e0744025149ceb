/* `qbatch backup restore`: selects the images of a run, and calls restore.c. */
#include "fleet/backup_parts.h"
#include "fleet/earlier.h"
#include "undoing/restore.h"

static int add_named(struct qb_earlier *e, const char *word, struct qb_err *err)
{
    const struct qb_trace *t = qb_earlier_find(e, word, err);

    return t ? qb_earlier_add(e, t, err) : -1;
}

/* All that the run changed: those without a clone are reported as not restored. */
static int add_all(struct qb_earlier *e, struct qb_err *err)
{
    bool some = false;
    int r = 0;

    qb_vec_each (t, &e->history.traces)
        some |= qb_restore_is_possible(t) && !t->clones.restored;
    if (!some)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "run %s has no clone of which an image can be restored", e->history.id);
    qb_vec_each (t, &e->history.traces)
        if (r == 0 && (qb_restore_is_possible(t) || (t->committed && !t->undone)))
            r = qb_earlier_add(e, t, err);
    return r;
}

static int choose(struct qb_earlier *e, const struct qb_cli *cli, struct qb_err *err)
{
    int r = cli->n_operands > 2 ? 0 : add_all(e, err);

    for (size_t i = 2; r == 0 && i < cli->n_operands; i++)
        r = add_named(e, cli->operands[i], err);
    return r;
}

int qb_backup_restore(const struct qb_cli *cli)
{
    struct qb_earlier e;
    struct qb_err err;
    int code;

    if (qb_earlier_open(&e, cli, cli->operands[1], &err) == 0 && choose(&e, cli, &err) == 0)
        code = qb_earlier_work(&e, cli, qb_restore_run,
                               "status may not know what was restored; restore it again");
    else
        code = qb_backup_refuse(cli, &err);
    qb_earlier_close(&e);
    return code;
}
