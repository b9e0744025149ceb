#include "manifest/node.h"

#include <string.h>

#include "util/text.h"

enum { QUOTED_MAX = 80 };

const char *const qb_top_names[] = {
#define TOP(name, reader) #name,
#include "manifest/structure.def"
#undef TOP
    NULL,
};

const char *const qb_rule_names[] = {
#define RULE(name, reader) #name,
#include "manifest/structure.def"
#undef RULE
    NULL,
};

const char *const qb_entry_names[] = {
#define ENTRY(name, adder) #name,
#include "manifest/structure.def"
#undef ENTRY
    NULL,
};

bool qb_names_have(const char *const *names, const char *name)
{
    while (*names && strcmp(name, *names) != 0)
        names++;
    return *names != NULL;
}

static const char *home_of_setting(const struct qb_key_row *setting)
{
    if (setting->section == QB_SECTION_rollout)
        return "under \"rollout\"";
    return setting->section == QB_SECTION_policy ? "under \"policy\"" : "under \"limits\"";
}

/* The section to which a name that is unknown here belongs, or NULL. */
static const char *home_of(const char *name)
{
    const struct qb_key_row *setting = qb_setting_find(NULL, name);

    if (setting)
        return home_of_setting(setting);
    if (qb_key_find(name) || qb_names_have(qb_rule_names, name))
        return "in an entry of \"images\" or under \"defaults\"";
    if (qb_names_have(qb_entry_names, name))
        return "in an entry of \"images\"";
    if (strcmp(name, "scan") == 0)
        return "under \"graph\"";
    return qb_names_have(qb_top_names, name) ? "at the top of the manifest" : NULL;
}

int qb_field_unknown(const struct qb_node *value, const char *const *own, struct qb_diags *diags)
{
    const struct qb_node *key = value->key;
    const char *home = home_of(key->text);

    if (home)
        return qb_diag_add(diags, QB_M_MISPLACED_KEY, key->at, NULL, "\"%s\" belongs %s, not here",
                           key->text, home);
    if (strchr(key->text, ':')) /* {compat:1.1} */
        return qb_diag_add(diags, QB_M_UNKNOWN_KEY, key->at, NULL,
                           "unknown key \"%.*s\"; write a blank after the colon", QUOTED_MAX,
                           key->text);
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

/* What to write where the value is of another kind. */
static const char *instead(enum qb_node_kind wanted, enum qb_node_kind got)
{
    if (wanted == QB_NODE_SEQUENCE)
        return got == QB_NODE_MAPPING ? "; begin each entry with \"- \""
                                      : "; write \"- \" before it, in a line of its own";
    if (got == QB_NODE_SEQUENCE)
        return wanted == QB_NODE_SCALAR ? "; leave out brackets and dashes"
                                        : "; write its keys without dashes";
    return "";
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
        qb_diag_add(diags, QB_M_WRONG_TYPE, value->at, NULL, "%s%s%s takes %s, not %s%s",
                    value->key ? "\"" : "", value->key ? value->key->text : "this place",
                    value->key ? "\"" : "", wanted, qb_node_kind_name(value),
                    instead(kind, value->kind));
    return false;
}
