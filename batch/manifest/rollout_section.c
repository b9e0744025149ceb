#include "manifest/rollout_section.h"

#include "manifest/node.h"

static int bad_step(struct qb_reader *r, const struct qb_node *item, const char *what)
{
    return qb_diag_add(r->diags, QB_M_BAD_VALUE, item->at, NULL, "steps: \"%s\" %s", item->text,
                       what);
}

static int read_step(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *item,
                     const struct qb_amount *before, struct qb_amount *out)
{
    const char *text = qb_field_text(item, r->diags);
    struct qb_why why;

    if (!text)
        return -1;
    return qb_step_read(key, text, before, out, &why) ? 0 : bad_step(r, item, why.text);
}

int qb_read_steps(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *value)
{
    struct qb_amount steps[QB_STEPS_MAX];
    size_t n = 0;

    if (!qb_field_is(value, QB_NODE_SEQUENCE, "a list, such as [1, 1%, 10%]", r->diags))
        return -1;
    if (!value->first)
        return qb_diag_add(r->diags, QB_M_NO_VALUE, value->at, NULL, "\"steps\" is an empty list");
    for (const struct qb_node *item = value->first; item; item = item->next, n++) {
        if (n == QB_STEPS_MAX - 1)
            return bad_step(r, item, "is one step too many: up to 31 can be given");
        if (read_step(r, key, item, n > 0 ? &steps[n - 1] : NULL, &steps[n]) < 0)
            return -1;
    }
    if (!qb_steps_store(steps, n, r->batch, &r->settings.rollout.steps))
        return qb_diag_memory(r->diags);
    r->settings.rollout.line = value->key->at.line;
    return 0;
}
