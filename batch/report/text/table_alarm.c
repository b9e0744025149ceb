/* Reports failed verifications on standard error, with every combination of options. */
#include "text/table.h"

#include "util/text.h"

/* The state directory, where a command without it would look elsewhere. */
void qb_table_state(const struct qb_table *t, FILE *f)
{
    if (!t->batch->state_dir)
        return;
    fputs(" --state ", f);
    qb_text_shell(f, t->batch->state_dir);
}

/* Printed on stderr, before all other output, with every combination of options. */
void qb_table_alarm(struct qb_table *t, const struct qb_job *job, const struct qb_result *r)
{
    if (r->err.code != QB_E_VERIFY)
        return;
    fputs("qbatch: VERIFICATION FAILED: ", t->errors);
    qb_text_safe(t->errors, job->path);
    fputs(": ", t->errors);
    qb_table_error(t->errors, &r->err);
    fputs("\nqbatch: this image was amended and must not be used as it is\n", t->errors);
    if (!t->batch->run_id[0])
        return;
    fprintf(t->errors, "qbatch: to have the old image back: qbatch undo %s ", t->batch->run_id);
    qb_text_shell(t->errors, job->path);
    qb_table_state(t, t->errors);
    fputc('\n', t->errors);
}

void qb_table_alarm_end(struct qb_table *t, const struct qb_summary *sum)
{
    char buf[QB_TEXT_NUMBER];

    if (sum->journal_lost)
        fprintf(t->errors, "qbatch: %s\n", sum->journal_lost);
    if (sum->adds_twice)
        fputs("qbatch: this run is not recorded: running it again would add to the sizes of the "
              "images that are done once more\n",
              t->errors);
    if (sum->mistrusted)
        fprintf(t->errors, "qbatch: VERIFICATION FAILED for %s image%s, named above\n",
                qb_text_count(sum->mistrusted, buf), sum->mistrusted == 1 ? "" : "s");
}
