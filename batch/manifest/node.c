#include "manifest/node.h"

#include <string.h>

#include "manifest/entries.h"
#include "manifest/keys.h"
#include "manifest/settings.h"
#include "util/text.h"

enum { QUOTED_MAX = 80 };

/* Where a name that is unknown here would be at home, or NULL. */
static const char *home_of(const char *name)
{
    static const char *const top[] = {"version", "name",  "defaults", "policy",
                                      "limits",  "graph", "images",   NULL};
    const struct qb_setting_row *setting = qb_setting_find(NULL, name);

    if (setting)
        return strcmp(setting->section, "policy") == 0 ? "under \"policy\"" : "under \"limits\"";
    if (qb_key_find(name))
        return "in an entry of \"images\" or under \"defaults\"";
    for (size_t i = 0; qb_rule_names[i]; i++)
        if (strcmp(name, qb_rule_names[i]) == 0)
            return "in an entry of \"images\" or under \"defaults\"";
    for (size_t i = 0; qb_entry_names[i]; i++)
        if (strcmp(name, qb_entry_names[i]) == 0)
            return "in an entry of \"images\"";
    if (strcmp(name, "scan") == 0)
        return "under \"graph\"";
    for (const char *const *t = top; *t; t++) {
        if (strcmp(*t, name) == 0)
            return "at the top of the manifest";
    }
    return NULL;
}

int qb_field_unknown(const struct qb_node *value, const char *const *own, struct qb_diags *diags)
{
    const struct qb_node *key = value->key;
    const char *home = home_of(key->text);

    if (qb_key_is_later(key->text))
        return qb_diag_add(diags, QB_M_NOT_YET, key->at, NULL, "\"%s\" is not supported yet",
                           key->text);
    if (home)
        return qb_diag_add(diags, QB_M_MISPLACED_KEY, key->at, NULL, "\"%s\" belongs %s, not here",
                           key->text, home);
    return qb_diag_add(diags, QB_M_UNKNOWN_KEY, key->at, qb_text_nearest(key->text, own),
                       "unknown key \"%.*s\"", QUOTED_MAX, key->text);
}

int qb_field_not_of(const struct qb_node *value, const char *const *own, struct qb_diags *diags)
{
    return qb_diag_add(diags, QB_M_UNKNOWN_KEY, value->key->at,
                       qb_text_nearest(value->key->text, own), "unknown key \"%.*s\"", QUOTED_MAX,
                       value->key->text);
}

const char *qb_field_text(const struct qb_node *value, struct qb_diags *diags)
{
    const struct qb_node *named = value->key ? value->key : value;

    if (!qb_field_is(value, QB_NODE_SCALAR, "one value", diags))
        return NULL;
    if (qb_node_is_blank(value) || qb_node_is_null(value)) {
        qb_diag_add(diags, QB_M_NO_VALUE, named->at, NULL, "%s%s%s has no value",
                    value->key ? "\"" : "", value->key ? value->key->text : "this item",
                    value->key ? "\"" : "");
        return NULL;
    }
    return value->text;
}

int qb_field_bad(const struct qb_node *value, const struct qb_why *why, struct qb_diags *diags)
{
    return qb_diag_add(diags, why->not_yet ? QB_M_NOT_YET : QB_M_BAD_VALUE, value->at,
                       why->did_you_mean, "%s: \"%.*s\" %s", value->key ? value->key->text : "item",
                       QUOTED_MAX, value->text, why->text);
}

bool qb_field_is(const struct qb_node *value, enum qb_node_kind kind, const char *wanted,
                 struct qb_diags *diags)
{
    if (value->kind == kind)
        return true;
    if (value->kind == QB_NODE_SCALAR && qb_node_is_blank(value) && value->key)
        qb_diag_add(diags, QB_M_NO_VALUE, value->key->at, NULL, "\"%s\" has no value; it takes %s",
                    value->key->text, wanted);
    else
        qb_diag_add(diags, QB_M_WRONG_TYPE, value->at, NULL, "%s%s%s takes %s, not %s",
                    value->key ? "\"" : "", value->key ? value->key->text : "this place",
                    value->key ? "\"" : "", wanted, qb_node_kind_name(value));
    return false;
}
