#include "page/html_steps.h"

#include <inttypes.h>

#include "util/text.h"
#include "util/xml.h"

/* The run was resumed: what it had done before is not counted here. */
static bool began_later(const struct qb_rollout_sum *rollout)
{
    bool later = false;

    for (unsigned i = 0; i < rollout->n; i++)
        later |= rollout->steps[i].verdict != QB_GATE_NONE && rollout->steps[i].drawn == 0;
    return later;
}

void qb_html_put_steps(FILE *f, const struct qb_rollout_sum *rollout, size_t run)
{
    char count[QB_TEXT_NUMBER];

    if (!rollout->n)
        return;
    fputs("<h2>Steps", f);
    if (run)
        fprintf(f, " of run %zu", run);
    fputs("</h2>\n", f);
    if (rollout->why[0]) {
        fprintf(f, "<p class=note>Step %u failed: ", rollout->step + 1);
        qb_markup_text(f, rollout->why);
        fputs("</p>\n", f);
    }
    if (began_later(rollout))
        fputs("<p class=note>Drawn, changed and failed: in this attempt of the run. What earlier "
              "ones "
              "did is in qbatch status.</p>\n",
              f);
    fputs("<div class=wide><table>\n<thead><tr><th class=n>#<th class=n>Images after it<th "
          "class=n>Drawn"
          "<th class=n>Changed<th class=n>Failed<th>Verdict\n<tbody>\n",
          f);
    for (unsigned i = 0; i < rollout->n; i++) {
        const struct qb_step_sum *step = &rollout->steps[i];

        fprintf(f, "<tr><td class=n>%u<td class=n>%s", i + 1, qb_text_count(step->images, count));
        fprintf(f, "<td class=n>%s", qb_text_count(step->drawn, count));
        fprintf(f, "<td class=n>%s", qb_text_count(step->changed, count));
        fprintf(f, "<td class=n>%s<td>%s\n", qb_text_count(step->failed, count),
                step->verdict == QB_GATE_NONE ? "" : qb_gate_names[step->verdict]);
    }
    fputs("</table></div>\n", f);
}
