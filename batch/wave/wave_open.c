/* The first phase of a wave: open and lock, read headers (wave_claim.c), find the order, plan.
 * Writes nothing, except that it cuts off what an interrupted run left past an image's end. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/own.h"
#include "base/units.h"
#include "wave/rules_apply.h"
#include "job/rules.h"
#include "wave/wave_slot.h"

/* Only a downgrade needs the backing file without needing all that lies below it. */
static void lend(struct qb_wave *w, struct qb_slot *s, const struct qb_info *info)
{
    if (!(s->rq.set & QB_KEY_COMPAT) || s->rq.compat >= info->version)
        return;
    s->loan = qb_lend(w->lender, qb_sched_io(w->sched), qb_amend_file(s->amend),
                      w->batch->jobs[s->job].path, info);
    qb_amend_lend(s->amend, qb_loan_chain(s->loan));
}

static void order_one(struct qb_wave *w, struct qb_slot *s)
{
    struct qb_result *r = qb_amend_result(s->amend);
    struct qb_err *err = qb_amend_err(s->amend);
    struct qb_need *need = &s->need;

    if (qb_graph_need(w->graph, s->job, qb_naming_of(qb_amend_file(s->amend)), &s->rq, r->before,
                      need, err) < 0) {
        r->status = QB_STATUS_FAILED;
        qb_slot_fail_or_put_off(w, s);
        return;
    } else if (need->loop) {
        qb_fail(err, QB_E_BACKING_LOOP, QB_NOWHERE,
                need->deep ? "the backing chain is in a loop, or deeper than %u files"
                           : "the backing chain of the image comes back to itself",
                (unsigned)QB_CHAIN_MAX_DEPTH);
    } else if (qb_overlays_check(w->overlays, w->batch, s->job, r->before, err) == 0 &&
               qb_data_guard_check(w->data_guard, qb_amend_file(s->amend), &s->rq, r->before,
                                   err) == 0) {
        if (need->job != QB_NO_JOB && (need->must || !qb_queue_is_alone(w->queue, s->job)))
            qb_slot_put_off(w, s, QB_STEP_AFTER);
        else
            lend(w, s, r->before);
        return;
    }
    r->status = QB_STATUS_FAILED;
    qb_slot_step(w, s, QB_STEP_OVER);
}

static void add_line(void *arg, const char *text)
{
    fprintf(arg, "%s\n", text);
}

static char *describe(const struct qb_amend *a)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (f) {
        qb_amend_describe(a, add_line, f);
        fclose(f);
    }
    return text;
}

/* That a rewritten backing name leads to the same guest data, where the entry asks for it. */
static int check_content(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    const struct qb_rules *rules = w->batch->jobs[s->job].rules;

    if (!(s->rq.set & QB_KEY_BACKING_FILE) || !rules || !rules->moves ||
        !qb_moves_checks_content(rules->moves))
        return 0;
    return qb_amend_check_backing(s->amend, io, &s->rq);
}

/* Within the memory that it is granted; false: put off. */
static bool make_plan(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    struct qb_long_phase phase;

    qb_slot_open_budget(w, s);
    s->rq.memory_limit = qb_slot_grant(w, s);
    if (!s->rq.memory_limit) {
        qb_slot_put_off(w, s, QB_STEP_NO_ROOM);
        return false;
    }
    s->rq.room_first |= w->batch->policy.max_growth != UINT64_MAX;
    qb_slot_begin_long(w, s, io, QB_SPAN_PLAN, true, &phase);
    if (w->batch->policy.extend_command.n)
        qb_amend_may_extend(s->amend);
    if (check_content(w, s, io) == 0)
        qb_amend_plan(s->amend, io, &s->rq);
    qb_slot_end_long(w, s, io, &phase);
    qb_slot_explain_memory(s);
    if (qb_slot_gives_way(w, s)) {
        qb_slot_wants_more(w, s);
        qb_slot_put_off(w, s, QB_STEP_CROWDED);
        return false;
    }
    return true;
}

/* What it will hold until its wave ends: the fingerprint of its content takes about as much again,
 * for a while, and verification no more than the plan did, which is gone by then. */
static void hold_plan(struct qb_wave *w, struct qb_slot *s)
{
    uint64_t held = qb_amend_memory(s->amend);

    qb_slot_hold(w, s, s->rq.verify == QB_VERIFY_CONTENT ? 2 * held : held);
    s->rq.memory_limit = w->memory_limit;
}

static bool refuse(struct qb_wave *w, struct qb_slot *s)
{
    struct qb_result *r = qb_amend_result(s->amend);

    r->status = QB_STATUS_FAILED;
    r->after = NULL;
    r->file_size_after = r->file_size_before;
    qb_slot_step(w, s, QB_STEP_OVER);
    return true;
}

/* An undo of a run restores what an image was before the run's last amend of it: a second amend
 * would put the first one out of reach. */
static bool would_lose_undo(struct qb_wave *w, struct qb_slot *s)
{
    if (!w->batch->jobs[s->job].undo_kept)
        return false;
    qb_fail(qb_amend_err(s->amend), QB_E_REFUSED, QB_NOWHERE,
            "this run has amended the image to another request, and could not undo that after a "
            "second amend; undo it, or amend it in a new run");
    return refuse(w, s);
}

/* A clone of the image names the same data file, and would show whatever becomes of that. */
static bool backup_lacks_data(struct qb_wave *w, struct qb_slot *s)
{
    if (w->batch->policy.backup == QB_BACKUP_NONE ||
        !qb_amend_result(s->amend)->before->external_data_file)
        return false;
    qb_fail(qb_amend_err(s->amend), QB_E_UNSUPPORTED, QB_NOWHERE,
            "backup: reflink: a clone of the image would not hold what is in its external data "
            "file");
    return refuse(w, s);
}

static bool grows_too_much(struct qb_wave *w, struct qb_slot *s)
{
    uint64_t growth = qb_amend_growth(s->amend), most = w->batch->policy.max_growth;
    const struct qb_file *file = qb_amend_file(s->amend);
    char wanted[QB_TEXT_NUMBER], allowed[QB_TEXT_NUMBER];

    if (growth <= most)
        return false;
    qb_fail(qb_amend_err(s->amend), QB_E_NO_SPACE, QB_NOWHERE,
            "nothing was changed: the amend would %s by %s, and policy.max_growth allows %s",
            file->is_block_device ? "take more of the device," : "make the file longer",
            qb_text_size_exact(growth, wanted), qb_text_size_exact(most, allowed));
    return refuse(w, s);
}

/* There is nothing to do, or it failed. */
static void end_unplanned(struct qb_wave *w, struct qb_slot *s)
{
    const struct qb_job *job = &w->batch->jobs[s->job];

    if (!w->options->dry_run && qb_amend_result(s->amend)->status == QB_STATUS_UNCHANGED &&
        (job->cuts_data || job->abandoned_from || qb_amend_may_be_unsynced(s->amend))) {
        hold_plan(w, s);
        qb_slot_step(w, s, QB_STEP_FOUND); /* nothing is cut off before it is durable */
    } else {
        qb_slot_step(w, s, QB_STEP_OVER);
    }
}

static void plan_slot(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    struct qb_result *r = qb_amend_result(s->amend);

    if (!make_plan(w, s, io))
        return;
    if (qb_slot_is_stale(w, s)
            ? refuse(w, s)
            : r->status == QB_STATUS_WOULD_CHANGE &&
                  (would_lose_undo(w, s) || backup_lacks_data(w, s) || grows_too_much(w, s) ||
                   (qb_slot_allocates_too_much(w, s) && refuse(w, s))))
        return;
    if (r->status == QB_STATUS_WOULD_CHANGE || r->status == QB_STATUS_UNCHANGED)
        qb_meant_ends(&w->batch->jobs[s->job], s->amend, false);
    if (r->status != QB_STATUS_WOULD_CHANGE) {
        end_unplanned(w, s);
        return;
    }
    hold_plan(w, s);
    if (!w->options->dry_run) {
        if (!qb_slot_make_room(w, s, io))
            return;
        qb_slot_plan_known(w, s);
    }
    if (w->options->dry_run) /* at most: replaced clusters may be freed */
        r->allocated_delta = (int64_t)qb_amend_space(s->amend);
    if (w->options->describe)
        s->steps = describe(s->amend);
    qb_slot_step(w, s, w->options->dry_run ? QB_STEP_OVER : QB_STEP_PLANNED);
}

static void plan_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_wave *w = arg;
    struct qb_slot *s = &w->slots[i];

    if (s->step == QB_STEP_OPENED && !qb_slot_leave_untouched(w, s, io))
        plan_slot(w, s, io);
    if (s->step == QB_STEP_AGAIN && !qb_slot_leave(w, s, io))
        qb_slot_plan_again(w, s, io);
    else if (s->step == QB_STEP_OVER)
        qb_slot_release(w, s);
}

void qb_wave_prepare(struct qb_wave *w)
{
    qb_wave_open(w);
    for (size_t i = 0; i < w->n; i++)
        if (w->slots[i].step == QB_STEP_OPENED)
            order_one(w, &w->slots[i]);
    qb_wave_confine(w);
    qb_wave_each_waiting(w, plan_one);
}
