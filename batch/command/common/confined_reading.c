#include "common/confined_reading.h"

#include <stdio.h>
#include <stdlib.h>

#include "backing/deadly.h"
#include "base/own.h"
#include "util/signal.h"

enum { BARREN_MAX = 3 }; /* deaths in a row that no header explains */

int qb_confined_reading_enter(struct qb_confined_reading *r, struct qb_batch *batch,
                              struct qb_sched *sched, struct qb_owners *owners, struct qb_err *err)
{
    const struct qb_confine_wish wish = {.owners = owners, .helper = true};
    struct qb_confining *c = &r->confining;

    qb_confining_init(c, batch, true);
    if (!qb_confining_is_due(c))
        return 0;
    qb_scan_offer(&r->scan, c);
    return qb_confining_check(c, err) < 0 ? -1 : qb_confining_enter(c, sched, &wish, err);
}

int qb_confined_reading_begin(struct qb_confined_reading *r, struct qb_sched *sched,
                              struct qb_owners *owners, struct qb_err *err)
{
    const struct qb_confine_wish wish = {.owners = owners, .helper = true};

    return qb_confining_is_due(&r->confining) ? qb_confining_begin(&r->confining, sched, &wish, err)
                                              : 0;
}

void qb_confined_reading_end(struct qb_confined_reading *r)
{
    if (r->confining.begun || r->confining.entered)
        qb_confining_end(&r->confining);
    qb_scan_errand_free(&r->scan);
}

/* ---- processes that may die ------------------------------------------------------------------ */

/* How many headers it was reading when it ended, of which no other one is to say so. */
static size_t bury(const struct qb_headers_apart *h, const char *how)
{
    size_t n = qb_deadly_bury(h->batch->deadly, h->batch->n_jobs + h->batch->n_others, how);

    fprintf(stderr, "%s: note: the process that reads the images' headers %s", h->program, how);
    if (n == 0)
        fputs("\n", stderr);
    else
        fprintf(stderr, "; %zu header%s that it was reading %s read again%s\n", n,
                n == 1 ? "" : "s", n == 1 ? "is" : "are", n == 1 ? ", alone" : ", one at a time");
    return n;
}

static int follow(const struct qb_headers_apart *h, struct qb_mortal *m, bool *began,
                  struct qb_err *err)
{
    const struct qb_mortal_wish wish = {
        .body = h->body, .arg = h->arg, .kept = -1, .keeps_output = h->keeps_output};
    char how[QB_MORTAL_HOW];

    for (unsigned barren = 0; barren < BARREN_MAX;) {
        bool all;

        m->stopped = qb_signal_seen;
        if (qb_mortal_start(m, &wish, err) < 0)
            return -1;
        *began = true;
        all = h->take(h->arg, m);
        qb_mortal_end(m, all, how);
        if (all)
            return 0;
        if (qb_signal_seen())
            return qb_fail(err, QB_E_CANCELLED, QB_NOWHERE, "interrupted");
        barren = bury(h, how) > 0 ? 0 : barren + 1;
    }
    return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE,
                   "the process that reads the images' headers %s, and so did those before it",
                   how);
}

int qb_headers_read_apart(const struct qb_headers_apart *h, bool *began, struct qb_err *err)
{
    QB_AUTO(qb_buf) struct qb_mortal *m = malloc(sizeof(*m));
    int r;

    *began = false;
    h->batch->deadly = qb_deadly_new();
    if (!m || !h->batch->deadly || !qb_signal_share())
        r = qb_fail_memory(err);
    else
        r = follow(h, m, began, err);
    qb_deadly_free(qb_take(&h->batch->deadly));
    return r;
}

void qb_confining_tell_lack(const struct qb_cli *cli, const struct qb_confining *c)
{
    char text[QB_SANDBOX_TEXT];
    const char *lack = qb_confining_lack(c, text);

    if (lack && !qb_cli_has(cli, QB_OPTION_QUIET))
        fprintf(stderr, "%s: sandbox: %s\n", qb_cli_program(cli->command), lack);
}
