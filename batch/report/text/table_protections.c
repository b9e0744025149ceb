/* The lines of a table about protections that a run did without. */
#include "text/table.h"

void qb_table_protections(const struct qb_table *t, const struct qb_summary *sum)
{
    const struct qb_sandboxed *s = sum->sandboxed;
    char text[QB_SANDBOX_TEXT];

    if (t->batch->policy.owner_need_not_read)
        fputs("policy.owner_must_read is off: backing files were opened whether or not the "
              "owners of the images could read them\n",
              t->out);
    if (s && s->policy == QB_SANDBOX_OFF)
        fputs("policy.sandbox is off: images were read with all rights of who ran this\n", t->out);
    else if (s && t->verbose)
        fprintf(t->out, "sandbox: %s\n", qb_sandbox_text(s, text));
}
