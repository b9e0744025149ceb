#include "manifest/section.h"

#include <string.h>

#include "manifest/lists.h"
#include "manifest/node.h"
#include "manifest/rollout_section.h"

static void read_setting(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *v)
{
    const char *text;
    struct qb_why why;

    if (key->kind == QB_KIND_COMMAND || key->kind == QB_KIND_NAMES) {
        (key->kind == QB_KIND_COMMAND ? qb_read_command : qb_read_places)(r, key, v);
        return;
    }
    if (key->kind == QB_KIND_AMOUNTS) {
        qb_read_steps(r, key, v);
        return;
    }
    text = qb_field_text(v, r->diags);
    if (text && !qb_setting_set(key, text, &r->settings, &why))
        qb_field_bad(v, &why, r->diags);
}

static void read_setting_group(struct qb_reader *r, const struct qb_key_row *group,
                               const struct qb_node *mapping)
{
    const char *names[QB_KEYS_MAX];
    char what[120];

    snprintf(what, sizeof(what), "a mapping such as %s", group->values);
    if (!qb_field_is(mapping, QB_NODE_MAPPING, what, r->diags))
        return;
    qb_group_names(group, names);
    for (const struct qb_node *v = mapping->first; v; v = v->next) {
        const struct qb_key_row *key = qb_group_find(group, v->key->text);

        if (key)
            read_setting(r, key, v);
        else
            qb_field_not_of(v, names, r->diags);
    }
}

static enum qb_section section_of(const char *name)
{
    enum qb_section section = QB_SECTION_policy;

    while (section < QB_SECTION_rollout && strcmp(name, qb_section_name(section)) != 0)
        section++;
    return section;
}

void qb_section_read(struct qb_reader *r, const struct qb_node *mapping)
{
    const char *names[QB_FIELDS_MAX], *section = mapping->key->text;

    if (!qb_field_is(mapping, QB_NODE_MAPPING, "a mapping", r->diags))
        return;
    for (const struct qb_node *v = mapping->first; v; v = v->next) {
        const struct qb_key_row *key = qb_setting_find(section, v->key->text);

        if (!key || qb_key_is_nested(key)) {
            qb_key_names(section_of(section), names);
            qb_field_unknown(v, names, r->diags);
            continue;
        }
        (key->kind == QB_KIND_GROUP ? read_setting_group : read_setting)(r, key, v);
    }
}
