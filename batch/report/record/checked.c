#include "record/checked.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"

enum { ROOM_STEP = 50, FINDING_BYTES = 300 /* beside its text */ };

const char *const qb_verdict_names[QB_VERDICT_COUNT] = {
    [QB_VERDICT_CORRUPT] = "corrupt",
    [QB_VERDICT_UNCHECKED] = "unchecked",
    [QB_VERDICT_LEAKS] = "leaks",
    [QB_VERDICT_CLEAN] = "clean",
};

static bool make_room(struct qb_checked *c)
{
    struct qb_finding *more;

    if (c->n_findings < c->room)
        return true;
    more = realloc(c->findings, (c->room + ROOM_STEP) * sizeof(*more));
    if (!more)
        return false;
    c->findings = more;
    c->room += ROOM_STEP;
    return true;
}

/* Whether a report may have it, too: there a character may take six, as \u0001 does. */
static bool fits_report(struct qb_checked *c)
{
    c->bytes += FINDING_BYTES + 6 * strlen(c->open_text);
    return !c->bytes_most || c->bytes <= c->bytes_most;
}

/* Without memory it is counted only. */
static void keep(struct qb_checked *c, struct qb_finding finding)
{
    c->of_code[finding.defect] += finding.n;
    if (c->kept[finding.defect] < c->most && c->n_findings < c->most_in_all && fits_report(c) &&
        make_room(c))
        finding.text = strdup(c->open_text);
    if (!finding.text) {
        c->left_out[finding.kind] += finding.n;
        return;
    }
    c->findings[c->n_findings++] = finding;
    c->kept[finding.defect]++;
}

static bool joins(const struct qb_finding *open, const struct qb_found *found)
{
    return open->n && found->offset != QB_NOWHERE && found->offset > open->last &&
           (open->n == 1 || found->offset - open->last == open->step) &&
           qb_defects[open->defect].name == found->code && found->guest_bytes == 0;
}

void qb_checked_note(void *checked, const struct qb_found *found)
{
    struct qb_checked *c = checked;
    struct qb_finding *open = &c->open;

    c->guest_bytes += found->guest_bytes;
    if (joins(open, found) && strcmp(c->open_text, found->text) == 0) {
        open->step = found->offset - open->last;
        open->last = found->offset;
        open->n++;
        return;
    }
    qb_checked_end(c);
    *open = (struct qb_finding){.defect = qb_defect_named(found->code),
                                .kind = found->kind,
                                .guest_offset = found->guest_offset,
                                .guest_bytes = found->guest_bytes,
                                .offset = found->offset,
                                .last = found->offset,
                                .n = 1};
    snprintf(c->open_text, sizeof(c->open_text), "%s", found->text);
}

void qb_checked_end(struct qb_checked *c)
{
    if (c->open.n)
        keep(c, c->open);
    c->open.n = 0;
}

void qb_checked_free(struct qb_checked *c)
{
    for (size_t i = 0; i < c->n_findings; i++)
        free(c->findings[i].text);
    free(qb_take(&c->findings));
    qb_check_result_free(qb_take(&c->result));
    c->n_findings = 0;
}

const struct qb_failure *qb_checked_failure(const struct qb_checked *c)
{
    return c->counted ? &c->result->data_file_err : &c->result->err;
}

enum qb_verdict qb_checked_verdict(const struct qb_checked *c)
{
    if (c->counted && c->result->corruptions)
        return QB_VERDICT_CORRUPT;
    if (qb_checked_failure(c)->code != QB_E_NONE)
        return QB_VERDICT_UNCHECKED;
    return c->result->leaks ? QB_VERDICT_LEAKS : QB_VERDICT_CLEAN;
}
