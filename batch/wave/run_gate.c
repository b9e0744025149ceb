#include "wave/run_gate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "host/child.h"
#include "util/path.h"

static char **words_of(const struct qb_batch *batch, const char *journal,
                       const struct qb_gate_numbers *n)
{
    QB_AUTO(qb_buf) char *state = strndup(journal, qb_path_name_at(journal));
    char numbers[4][24];
    const struct qb_child_value values[] = {
        {"{run}", batch->run_id}, {"{state}", state ? state : ""}, {"{step}", numbers[0]},
        {"{steps}", numbers[1]},  {"{changed}", numbers[2]},       {"{failed}", numbers[3]},
    };

    snprintf(numbers[0], sizeof(numbers[0]), "%u", n->step);
    snprintf(numbers[1], sizeof(numbers[1]), "%u", n->steps);
    snprintf(numbers[2], sizeof(numbers[2]), "%" PRIu64, n->changed);
    snprintf(numbers[3], sizeof(numbers[3]), "%" PRIu64, n->failed);
    return qb_child_fill(&batch->rollout.gate.command, values, sizeof(values) / sizeof(values[0]));
}

int qb_gate_run(const struct qb_batch *batch, const char *journal,
                const struct qb_gate_numbers *numbers, struct qb_io *io, struct qb_err *err)
{
    char **words = words_of(batch, journal ? journal : "", numbers);
    int r = words ? qb_child_run(words, io, err) : qb_fail_memory(err);

    qb_child_words_free(words);
    return r;
}
