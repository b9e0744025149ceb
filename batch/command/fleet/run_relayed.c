#include "fleet/run_relayed.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "ctl/socket.h"
#include "fleet/run_ctl.h"
#include "outcome/orders.h"
#include "run/relay_run.h"
#include "util/signal.h"

struct relayed {
    struct qb_run_sandbox *sandbox;
    const struct qb_run_options *options;
    struct qb_batch *batch;
    struct qb_keep *keep;
    struct qb_output *out;
    struct qb_hand *hand; /* shared; NULL: nobody can ask anything */
};

bool qb_fleet_is_relayed(const struct qb_run_sandbox *sandbox)
{
    return sandbox->confining.early;
}

/* In the process that works on the images. */
static int run_here(void *arg, const struct qb_relay *relay, const struct qb_listener *listener,
                    struct qb_err *err)
{
    const struct relayed *r = arg;
    struct qb_run_options options = *r->options;
    int failed;

    options.relay = relay;
    if (!r->hand && r->batch->limits.deadline_seconds > 0)
        qb_signal_deadline(
            qb_max_double(relay->begun + r->batch->limits.deadline_seconds - qb_now(), 1e-6));
    failed = qb_fleet_run_with(r->sandbox, &options, r->out, listener, r->hand, err);
    qb_run_sandbox_end(r->sandbox);
    return failed;
}

static void record(struct qb_state *s, const struct qb_batch *batch, const struct qb_history *h,
                   const char *how)
{
    qb_journal_begin(&s->journal, "resumed");
    qb_state_stamp(&s->journal, "at");
    qb_journal_text(&s->journal, "after", how);
    qb_state_origin(&s->journal, &batch->origin);
    qb_journal_true(&s->journal, "torn", h->end.torn);
    qb_journal_end(&s->journal);
}

/* As --resume does, for the images that have no result yet. */
static int reopen(struct relayed *r, const char *how, struct qb_err *err)
{
    struct qb_state *s = &r->keep->state;
    struct qb_history h = {0};
    int rc, errnum = s->journal.errnum;

    qb_journal_close(&s->journal);
    rc = qb_history_reopen(r->keep->dir, s->id, &h, &s->journal, err);
    if (rc == 0) {
        qb_resume_apply(r->keep, r->batch, &h, qb_cli_has(r->sandbox->cli, QB_OPTION_REDO));
        record(s, r->batch, &h, how);
        errnum = s->must_last ? qb_journal_sync(&s->journal) : qb_journal_write(&s->journal);
        if (errnum)
            rc = qb_fail_sys(err, errnum, QB_NOWHERE, "cannot write the journal of run %s", s->id);
    } else {
        s->journal = (struct qb_journal){.file.fd = -1, .errnum = errnum ? errnum : EIO};
    }
    qb_history_free(&h);
    return rc;
}

static int after_death(void *arg, const char *how, struct qb_err *err)
{
    struct relayed *r = arg;

    if (r->hand) {
        qb_hand_mend(r->hand, r->batch->n_jobs);
        qb_ctl_unlink(r->keep->dir, r->keep->state.id);
    }
    return r->keep->kept ? reopen(r, how, err) : 0;
}

static void end_hand(const struct relayed *r, const struct qb_listener *listener)
{
    qb_hand_mend(r->hand, r->batch->n_jobs);
    if (!qb_orders_of(r->hand, r->batch, &r->out->sum.orders) && listener->notice)
        listener->notice(listener->arg, "out of memory: the reports lack orders of qbatch ctl");
    qb_hand_unshare(r->hand, r->batch->n_jobs);
}

/* A limit on processes, or a container that forbids them. */
static int run_unconfined(struct relayed *r, struct qb_run_options *options,
                          const struct qb_listener *listener, struct qb_err *err)
{
    struct qb_confining *c = &r->sandbox->confining;

    snprintf(c->refused, sizeof(c->refused), "%.199s", err->text);
    c->sandboxed.why_not = c->refused;
    c->begun = true;
    c->early = false;
    qb_signal_deadline(r->batch->limits.deadline_seconds);
    return qb_fleet_run_served(r->sandbox, options, r->out, listener, err);
}

int qb_fleet_run_relayed(struct qb_run_sandbox *sandbox, struct qb_run_options *options,
                         struct qb_batch *batch, struct qb_keep *keep, struct qb_output *out,
                         const struct qb_listener *listener, struct qb_err *err)
{
    struct relayed r = {.sandbox = sandbox,
                        .options = options,
                        .batch = batch,
                        .keep = keep,
                        .out = out,
                        .hand = NULL};
    const struct qb_relay_run run = {.batch = batch,
                                     .options = options,
                                     .listener = listener,
                                     .journal = options->state ? &options->state->journal : NULL,
                                     .flipped = "amended, and was not verified",
                                     .confining = &sandbox->confining,
                                     .body = run_here,
                                     .again = after_death,
                                     .arg = &r};
    bool began;
    int failed;

    if (keep->kept && qb_journal_write(&keep->state.journal))
        return qb_fail_sys(err, keep->state.journal.errnum, QB_NOWHERE, "cannot write the journal");
    if (qb_fleet_is_served(sandbox)) {
        r.hand = qb_hand_share(batch->n_jobs, &batch->limits);
        if (!r.hand)
            return qb_fail_memory(err);
    }
    if (!qb_signal_share())
        return qb_fail_memory(err);
    qb_signal_deadline(0); /* the other process has it, where qbatch ctl may set it */
    failed = qb_relay_run(&run, &began, err);
    if (r.hand)
        end_hand(&r, listener);
    if (failed && !began && batch->policy.sandbox != QB_SANDBOX_STRICT)
        return run_unconfined(&r, options, listener, err);
    return failed;
}
