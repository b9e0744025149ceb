/* Ends the steps of a rollout: judges them, records the verdict, and tells of it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/own.h"
#include "run/running.h"
#include "util/text.h"

enum { NAMED = 8 }; /* images of a step in a dry run */

bool qb_run_is_judged(const struct qb_running *r)
{
    return qb_run_is_rollout(r) && !qb_drawing_is_last(&r->rolling.drawing);
}

bool qb_run_step_is_over(const struct qb_running *r)
{
    const struct qb_drawing *d = &r->rolling.drawing;

    return qb_run_is_judged(r) && d->open == 0 && !qb_drawing_goes_on(d);
}

/* The first images that the step would change. */
static void put_names(const struct qb_running *r, FILE *f)
{
    const struct qb_rolling *rolling = &r->rolling;
    uint64_t named = 0, all = rolling->sum.steps[rolling->sum.step].changed;

    for (size_t i = 0; i < r->batch->n_jobs && named < QB_MIN(all, NAMED); i++) {
        size_t job = qb_run_job_at(r, i);

        if (rolling->steps[job] != (QB_STEP_CHANGED | (rolling->sum.step + 1)))
            continue;
        fputs(named++ ? ", " : ": ", f);
        qb_text_safe(f, r->batch->jobs[job].path);
    }
    if (all > named)
        fprintf(f, " and %" PRIu64 " more", all - named);
}

/* What a dry run has instead of a verdict. */
static void tell_drawn(struct qb_running *r)
{
    const struct qb_rollout_sum *sum = &r->rolling.sum;
    const struct qb_step_sum *of = &sum->steps[sum->step];
    QB_AUTO(qb_buf) char *text = NULL;
    size_t len = 0;
    FILE *f = r->listener->notice ? open_memstream(&text, &len) : NULL;

    if (!f)
        return;
    fprintf(f, "step %u of %u: %" PRIu64 " image%s would change", sum->step + 1, sum->n,
            of->changed, of->changed == 1 ? "" : "s");
    put_names(r, f);
    if (fclose(f) == 0)
        r->listener->notice(r->listener->arg, text);
}

static const char *const ends[QB_GATE_COUNT] = {
    [QB_GATE_FAILED] = "; the run ends", [QB_GATE_ASKED] = "; the run waits for an answer"};

/* Images that the step changed, in earlier attempts too. */
static uint64_t changed_in_all(const struct qb_running *r)
{
    unsigned step = r->rolling.sum.step;

    return r->rolling.sum.steps[step].changed + r->batch->past.changed[step];
}

static void tell_step(struct qb_running *r)
{
    const struct qb_rollout_sum *sum = &r->rolling.sum;
    const struct qb_step_sum *of = &sum->steps[sum->step];
    bool asked = of->verdict == QB_GATE_ASKED;
    uint64_t changed = changed_in_all(r);
    char text[640];

    if (!r->listener->notice)
        return;
    snprintf(text, sizeof(text),
             "step %u of %u %s: %" PRIu64 " image%s changed, %" PRIu64 " failed%s%s%s",
             sum->step + 1, sum->n, asked ? "passed" : qb_gate_names[of->verdict], changed,
             changed == 1 ? "" : "s", of->failed, sum->why[0] ? "; " : "", sum->why,
             ends[of->verdict] ? ends[of->verdict] : "");
    r->listener->notice(r->listener->arg, text);
}

/* The verdict is in the journal before anything depends on it. */
static void record(struct qb_running *r, enum qb_gate_says verdict)
{
    struct qb_rollout_sum *sum = &r->rolling.sum;
    struct qb_state *state = r->options->state;

    sum->steps[sum->step].verdict = verdict;
    tell_step(r);
    if (!state)
        return;
    qb_state_step(state, sum, sum->step + 1);
    qb_journal_write(&state->journal);
}

/* Whether some image was changed in the step, by this attempt or an earlier one. */
static bool is_empty(const struct qb_running *r)
{
    const struct qb_rollout_sum *sum = &r->rolling.sum;

    return sum->steps[sum->step].drawn == 0 && r->batch->past.changed[sum->step] == 0;
}

/* An earlier attempt came as far as the question, and this one changed nothing of the step. */
static bool was_asked(const struct qb_running *r)
{
    const struct qb_rollout_sum *sum = &r->rolling.sum;

    return r->batch->past.asked == sum->step + 1 && sum->steps[sum->step].drawn == 0;
}

static void soak(struct qb_running *r)
{
    double seconds = r->batch->rollout.soak_seconds, until = qb_now() + seconds;
    char took[QB_TEXT_NUMBER], text[160];

    if (seconds <= 0)
        return;
    if (r->options->state) /* what the step did is in the journal for as long as this lasts */
        qb_journal_write(&r->options->state->journal);
    snprintf(text, sizeof(text), "step %u of %u: waiting for %s (rollout.soak)",
             r->rolling.sum.step + 1, r->rolling.sum.n, qb_text_seconds(seconds, took));
    if (r->listener->notice)
        r->listener->notice(r->listener->arg, text);
    qb_run_waits_for(r, "rollout.soak");
    while (qb_now() < until && !qb_run_ends(r)) {
        nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
        qb_run_heed(r);
    }
    qb_run_waits_for(r, NULL);
}

static bool is_to_stop(void *arg)
{
    return qb_run_ends(arg);
}

/* Whether the command of the gate, if any, succeeds; else sum.why. */
static bool command_passes(struct qb_running *r)
{
    const struct qb_rollout_sum *sum = &r->rolling.sum;
    const struct qb_gate_numbers numbers = {.step = sum->step + 1,
                                            .steps = sum->n,
                                            .changed = changed_in_all(r),
                                            .failed = sum->steps[sum->step].failed};
    struct qb_io *io = qb_sched_io(r->sched);
    struct qb_err err = {0};
    int rc;

    if (qb_run_ends(r) || r->batch->rollout.gate.command.n == 0)
        return true;
    qb_run_waits_for(r, "rollout.gate");
    qb_io_set_stop(io, is_to_stop, r);
    rc = qb_run_gate(&r->errands, r->batch, &numbers, io, &err);
    qb_io_set_stop(io, NULL, NULL);
    qb_run_waits_for(r, NULL);
    snprintf(r->rolling.sum.why, sizeof(r->rolling.sum.why), "%s", rc < 0 ? err.text : "");
    return rc == 0;
}

static bool is_answered(struct qb_running *r)
{
    const struct qb_rollout_sum *sum = &r->rolling.sum;
    char text[160];
    bool answered;

    if (!r->batch->rollout.ask || (r->batch->past.answered && was_asked(r)))
        return true;
    snprintf(text, sizeof(text),
             "step %u of %u is over, %" PRIu64 " of %" PRIu64 " images are changed; go on?",
             sum->step + 1, sum->n, r->rolling.drawing.changed, sum->steps[sum->n - 1].images);
    if (!r->listener->ask)
        return false;
    qb_run_waits_for(r, "rollout.ask"); /* before the look: who then asks for the end sees that */
    answered = !qb_run_ends(r) && r->listener->ask(r->listener->arg, text, -1);
    qb_run_waits_for(r, NULL);
    return answered;
}

/* What there is to say of the step, once its images are done. */
static enum qb_gate_says judge(struct qb_running *r)
{
    if (is_empty(r))
        return QB_GATE_PASSED;
    if (!was_asked(r)) {
        soak(r);
        if (!command_passes(r))
            return qb_run_ends(r) ? QB_GATE_NONE : QB_GATE_FAILED;
    }
    if (qb_run_ends(r))
        return QB_GATE_NONE;
    if (is_answered(r))
        return QB_GATE_PASSED;
    return qb_run_ends(r) ? QB_GATE_NONE : QB_GATE_ASKED;
}

static void go_on(struct qb_running *r)
{
    qb_drawing_next(&r->rolling.drawing);
    qb_run_begin_step(r);
}

void qb_run_end_step(struct qb_running *r)
{
    enum qb_gate_says verdict = QB_GATE_NONE;

    if (r->options->dry_run) {
        tell_drawn(r);
        go_on(r);
        return;
    }
    qb_run_tell(r);
    verdict = judge(r);
    if (verdict == QB_GATE_NONE) /* interrupted: judged when the run is resumed */
        return;
    record(r, verdict);
    if (verdict == QB_GATE_PASSED) {
        go_on(r);
        return;
    }
    r->rolling.ends = true;
    r->failures.why = verdict == QB_GATE_ASKED
                          ? "left as it was: the rollout waits for an answer before its next step"
                          : "left as it was: the step of the rollout before it failed";
}

void qb_run_end_roll(struct qb_running *r)
{
    struct qb_rollout_sum *sum = &r->rolling.sum;
    const struct qb_step_sum *of = &sum->steps[sum->step];

    if (!qb_run_is_rollout(r))
        return;
    if (r->options->dry_run) {
        tell_drawn(r);
    } else if (qb_run_is_judged(r) && !r->rolling.ends && qb_failures_are_too_many(&r->failures) &&
               !qb_run_ends(r)) {
        snprintf(sum->why, sizeof(sum->why), "%" PRIu64 " image%s failed", of->failed,
                 of->failed == 1 ? "" : "s");
        record(r, QB_GATE_FAILED);
    }
    qb_run_publish_steps(r);
}
