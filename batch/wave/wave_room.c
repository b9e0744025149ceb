/* Runs policy.extend_command for an image whose device is too small for what is planned: after all
 * refusals, and before the first write. */
#include "wave/wave_slot.h"

/* What the command was asked for, what went wrong, and that nothing was written. */
static void explain(struct qb_amend *a, const char *what)
{
    struct qb_err *err = qb_amend_err(a), why = *err;

    qb_fail(err, why.code, why.offset, "nothing was written: %s%.300s", what, why.text);
    err->sys_errno = why.sys_errno;
}

static int extend(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    struct qb_result *result = qb_amend_result(s->amend);
    int r = qb_run_extend(w->errands, w->batch, s->job, qb_amend_lacks(s->amend), io,
                          qb_amend_err(s->amend));

    if (r < 0) {
        explain(s->amend, "policy.extend_command: ");
    } else {
        r = qb_amend_fit(s->amend);
        if (r < 0)
            explain(s->amend, "after policy.extend_command ");
    }
    if (r < 0) {
        result->status = QB_STATUS_FAILED;
        result->after = NULL;
        result->file_size_after = result->file_size_before;
    }
    return r;
}

/* Of an image that was given up meanwhile. */
static void tell_of_the_device(struct qb_wave *w, struct qb_slot *s)
{
    struct qb_err *err = qb_amend_err(s->amend);

    if (err->code == QB_E_TIMEOUT)
        qb_fail(
            err, err->code, QB_NOWHERE,
            "limits.timeout (%g s) ran out while policy.extend_command ran, which was ended; the "
            "image is as it was, and the device may have grown",
            w->limits->timeout_seconds);
    else
        qb_fail(err, err->code, QB_NOWHERE,
                "interrupted while policy.extend_command ran, which was ended; the image is as it "
                "was, and the device may have grown");
}

bool qb_slot_make_room(struct qb_wave *w, struct qb_slot *s, struct qb_io *io)
{
    struct qb_span planned = s->spans[QB_SPAN_PLAN];
    struct qb_result *r = qb_amend_result(s->amend);
    struct qb_long_phase phase;
    int failed;

    if (!qb_amend_lacks(s->amend))
        return true;
    qb_slot_begin_long(w, s, io, QB_SPAN_PLAN, true, &phase);
    if (phase.busy)
        atomic_store(&phase.busy->doing, QB_DOING_EXTENDING);
    failed = extend(w, s, io);
    qb_slot_end_long(w, s, io, &phase);
    /* It counts as a part of planning. */
    r->plan_seconds += s->spans[QB_SPAN_PLAN].seconds;
    s->spans[QB_SPAN_PLAN].seconds = s->spans[QB_SPAN_PLAN].started_seconds +
                                     s->spans[QB_SPAN_PLAN].seconds - planned.started_seconds;
    s->spans[QB_SPAN_PLAN].started_seconds = planned.started_seconds;
    if (s->step == QB_STEP_OVER)
        tell_of_the_device(w, s);
    else if (failed)
        qb_slot_step(w, s, QB_STEP_OVER);
    return !failed;
}
