/* Records the verdicts on the steps of a rollout. */
#include "journal/run_journal.h"

void qb_state_step(struct qb_state *s, const struct qb_rollout_sum *sum, unsigned step)
{
    const struct qb_step_sum *of = &sum->steps[step - 1];
    struct qb_journal *j = &s->journal;

    qb_journal_begin(j, "step");
    qb_journal_number(j, "step", step);
    qb_journal_number(j, "steps", sum->n);
    qb_journal_number(j, "images", of->images);
    qb_journal_number(j, "changed", of->changed);
    qb_journal_number(j, "failed", of->failed);
    qb_journal_text(j, "verdict", qb_gate_names[of->verdict]);
    if (of->verdict == QB_GATE_FAILED)
        qb_journal_text(j, "why", sum->why);
    qb_state_stamp(j, "at");
    qb_journal_end(j);
}
