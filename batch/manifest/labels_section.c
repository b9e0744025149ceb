#include "manifest/labels_section.h"

#include <string.h>

#include "manifest/node.h"

/* A name that Prometheus, and every other reader, accepts for a label. */
static bool is_name(const char *s)
{
    static const char *const first = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    static const char *const more =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";

    return *s && strchr(first, *s) && s[strspn(s, more)] == '\0' && strlen(s) <= 64;
}

static int read_label(struct qb_reader *r, const struct qb_node *v)
{
    const char *text = qb_field_text(v, r->diags);

    if (!text)
        return -1;
    if (!is_name(v->key->text))
        return qb_diag_add(r->diags, QB_M_BAD_VALUE, v->key->at, NULL,
                           "labels: \"%s\" is not a name: letters, digits and _ are, up to 64, and "
                           "not a digit first",
                           v->key->text);
    if (!*text || strlen(text) > QB_LABEL_BYTES_MAX)
        return qb_diag_add(r->diags, QB_M_BAD_VALUE, v->at, NULL,
                           "labels: the value must have 1 to %d bytes", QB_LABEL_BYTES_MAX);
    if (r->batch->origin.labels.n == QB_LABELS_MAX)
        return qb_diag_add(r->diags, QB_M_BAD_VALUE, v->key->at, NULL,
                           "labels: more than %d of them", QB_LABELS_MAX);
    return qb_origin_add_label(&r->batch->origin, v->key->text, text) ? 0
                                                                      : qb_diag_memory(r->diags);
}

void qb_labels_read(struct qb_reader *r, const struct qb_node *mapping)
{
    if (!qb_field_is(mapping, QB_NODE_MAPPING, "a mapping of names to texts", r->diags))
        return;
    for (const struct qb_node *v = mapping->first; v; v = v->next)
        read_label(r, v);
}
