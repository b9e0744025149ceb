/* What an image may cost until its flip: limits.per_image. */
#include "base/units.h"
#include "wave/wave_slot.h"

/* What the image may cost, from what it occupies. */
void qb_slot_open_budget(const struct qb_wave *w, struct qb_slot *s)
{
    const struct qb_per_image *may = &w->limits->per_image;

    s->budget =
        (struct qb_budget){.cpu_seconds = may->cpu_seconds, .descriptors = may->descriptors};
    qb_budget_add(&s->budget, qb_amend_file(s->amend));
}

/* Which key it takes to grant more. */
void qb_slot_explain_memory(struct qb_slot *s)
{
    struct qb_err *err = qb_amend_err(s->amend), why = *err;

    if (!s->within_budget || qb_amend_result(s->amend)->status != QB_STATUS_FAILED ||
        why.code != QB_E_MEMORY)
        return;
    qb_fail(err, why.code, why.offset, "%.300s (limits.per_image.memory)", why.text);
    err->sys_errno = why.sys_errno;
}

uint64_t qb_slot_memory_budget(const struct qb_wave *w, const struct qb_slot *s)
{
    uint64_t asked = w->limits->per_image.memory_bytes;

    return asked ? asked : qb_budget_memory(s->budget.occupied);
}

/* What the manifest asks to be reserved or written is no surprise, and a device bounds itself. */
static bool may_append_any(const struct qb_slot *s)
{
    return qb_amend_file(s->amend)->is_block_device || s->rq.set & QB_KEY_PREALLOCATION ||
           s->rq.zero_method == QB_ZEROED_FALLOC || s->rq.zero_method == QB_ZEROED_WRITE;
}

bool qb_slot_allocates_too_much(const struct qb_wave *w, struct qb_slot *s)
{
    uint64_t space = qb_amend_space(s->amend), most = w->limits->per_image.append_bytes;
    char wanted[QB_TEXT_NUMBER], allowed[QB_TEXT_NUMBER];

    if (!most)
        most = may_append_any(s) ? UINT64_MAX : qb_budget_append(s->budget.occupied);
    s->budget.occupied += QB_MIN(space, UINT64_MAX - s->budget.occupied);
    if (space <= most)
        return false;
    qb_fail(qb_amend_err(s->amend), QB_E_OVER_BUDGET, QB_NOWHERE,
            "nothing was changed: the amend would allocate %s, and limits.per_image.append allows "
            "%s",
            qb_text_size_exact(space, wanted), qb_text_size_exact(most, allowed));
    return true;
}
