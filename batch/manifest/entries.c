#include "manifest/entries.h"

#include <stdio.h>
#include <string.h>

#include "manifest/lists.h"
#include "manifest/node.h"
#include "util/glob.h"

/* ---- amend keys ------------------------------------------------------------------------------ */

/* The text of a key's value; one that the request will point to is kept longer than the tree lives.
 */
static int keep_text(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *value,
                     const char **out)
{
    if (value->kind == QB_NODE_SCALAR && qb_key_takes_none(key) && qb_node_is_null(value)) {
        *out = "";
        return 0;
    }
    if (value->kind == QB_NODE_SCALAR && qb_key_takes_none(key) && qb_node_is_blank(value))
        return qb_diag_add(r->diags, QB_M_NO_VALUE, value->key->at, NULL,
                           "\"%s\" has no value; write '' or null for none", key->name);
    *out = qb_field_text(value, r->diags);
    if (!*out || !qb_key_takes_none(key)) /* only such keys keep the pointer */
        return *out ? 0 : -1;
    *out = qb_batch_keep(r->batch, *out, strlen(*out));
    return *out ? 0 : qb_diag_memory(r->diags);
}

static int read_key(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *value,
                    struct qb_request *rq)
{
    struct qb_why why;
    const char *text;

    if (key->kind == QB_KIND_LATER)
        return qb_diag_add(r->diags, QB_M_NOT_YET, value->key->at, NULL,
                           "\"%s\" is not supported yet", value->key->text);
    if (qb_key_is_list(key))
        return qb_read_list(r, key, value, rq);
    if (key->kind == QB_KIND_MAPPINGS)
        return qb_read_mappings(r, key, value, rq);
    if (keep_text(r, key, value, &text) < 0)
        return -1;
    return qb_key_set(key, text, r->batch, rq, &why) ? 0 : qb_field_bad(value, &why, r->diags);
}

/* A mapping of the group's keys, which replaces all that `defaults` have of the group. */
static void read_group(struct qb_reader *r, const struct qb_key_row *group,
                       const struct qb_node *mapping, struct qb_request *rq)
{
    const char *names[QB_KEYS_MAX];
    char what[120];

    snprintf(what, sizeof(what), "a mapping such as %s", group->values);
    if (!qb_field_is(mapping, QB_NODE_MAPPING, what, r->diags))
        return;
    if (!mapping->first)
        qb_diag_add(r->diags, QB_M_NO_VALUE, mapping->key->at, NULL, "\"%s\" is an empty mapping",
                    mapping->key->text);
    qb_group_clear(group, rq);
    for (const struct qb_node *v = mapping->first; v; v = v->next) {
        const struct qb_key_row *key = qb_group_find(group, v->key->text);

        qb_group_names(group, names);
        if (key)
            read_key(r, key, v, rq);
        else
            qb_field_not_of(v, names, r->diags);
    }
}

static size_t add_names(const char *names[QB_FIELDS_MAX], size_t n, const char *const *more)
{
    for (; *more && n < QB_FIELDS_MAX - 1; more++)
        names[n++] = *more;
    return n;
}

/* The names that an entry may have, or those of `defaults`. */
static const char *const *all_names(bool is_entry, const char *names[QB_FIELDS_MAX])
{
    size_t n = qb_key_top_names(names);

    n = add_names(names, n, qb_rule_names);
    if (is_entry)
        n = add_names(names, n, qb_entry_names);
    names[n] = NULL;
    return names;
}

static void read_keys(struct qb_reader *r, const struct qb_node *mapping, bool is_entry,
                      struct qb_request *rq, struct qb_rules *rules)
{
    const char *names[QB_FIELDS_MAX];

    for (const struct qb_node *v = mapping->first; v; v = v->next) {
        const struct qb_key_row *key = qb_key_find(v->key->text);

        if (key && key->kind == QB_KIND_GROUP)
            read_group(r, key, v, rq);
        else if (key && qb_key_is_nested(key))
            qb_diag_add(r->diags, QB_M_UNKNOWN_KEY, v->key->at, NULL,
                        "\"%s\" is how -o and --set write it; here \"%s\" belongs inside the "
                        "mapping \"%.*s\"",
                        key->name, qb_key_last_name(key),
                        (int)(strlen(key->name) - strlen(qb_key_last_name(key)) - 1), key->name);
        else if (key)
            read_key(r, key, v, rq);
        else if (!qb_rules_read(v, r->batch, rules, r->diags) &&
                 !(is_entry && qb_names_have(qb_entry_names, v->key->text)))
            qb_field_unknown(v, all_names(is_entry, names), r->diags);
    }
}

/* Keys with the same meaning exclude each other. */
static void check_conflicts(struct qb_reader *r, const struct qb_node *entry,
                            const struct qb_request *rq, const struct qb_rules *rules)
{
    if (!rules->moves)
        return;
    if (rq->set & QB_KEY_BACKING_FILE)
        qb_diag_add(r->diags, QB_M_BAD_VALUE, entry->at, NULL,
                    "\"backing\" and \"backing_file\" exclude each other");
    if (rq->set & QB_KEY_BACKING_FMT && qb_moves_has_fmt_auto(rules->moves))
        qb_diag_add(r->diags, QB_M_BAD_VALUE, entry->at, NULL,
                    "\"fmt: auto\" of \"backing\" and \"backing_fmt\" exclude each other");
}

/* ---- images ---------------------------------------------------------------------------------- */

static const struct qb_node *child(const struct qb_node *mapping, const char *name)
{
    for (const struct qb_node *v = mapping->first; v; v = v->next) {
        if (strcmp(v->key->text, name) == 0)
            return v;
    }
    return NULL;
}

/* Calls fn for a text, or for each text of a list of them. */
static void each_text(struct qb_reader *r, const struct qb_node *value,
                      void (*fn)(struct qb_reader *r, const char *text, struct qb_place at,
                                 void *arg),
                      void *arg)
{
    const struct qb_node *item = value->kind == QB_NODE_SEQUENCE ? value->first : value;

    if (!item)
        qb_diag_add(r->diags, QB_M_NO_VALUE, value->at, NULL, "\"%s\" is an empty list",
                    value->key->text);
    if (value->kind == QB_NODE_MAPPING) {
        qb_field_is(value, QB_NODE_SCALAR, "a text or a list of texts", r->diags);
        return;
    }
    for (; item; item = item == value ? NULL : item->next) {
        const char *text = qb_field_text(item, r->diags);

        if (text && !text[0])
            qb_diag_add(r->diags, QB_M_BAD_VALUE, item->at, NULL, "an empty path");
        else if (text)
            fn(r, text, item->at, arg);
    }
}

static void add_exclude(struct qb_reader *r, const char *text, struct qb_place at, void *arg)
{
    struct qb_excludes *excludes = arg;

    if (text[strlen(text) - 1] == '/')
        qb_diag_add(r->diags, QB_M_BAD_VALUE, at, NULL,
                    "exclude: \"%s\" ends in a slash and would exclude nothing", text);
    else if (qb_glob_has_odd_stars(text))
        qb_select_odd_stars(r->diags, text, at);
    else if (!qb_vec_push(&excludes->patterns, text))
        qb_diag_memory(r->diags);
}

static void add_path(struct qb_reader *r, const char *text, struct qb_place at, void *arg)
{
    qb_select_add(&r->select, text, at, arg, r->requests.n - 1);
}

static void add_lines(struct qb_reader *r, const char *text, struct qb_place at, void *arg)
{
    qb_select_add_list(&r->select, text, '\n', at, arg, r->requests.n - 1);
}

static void add_names_of_file(struct qb_reader *r, const char *text, struct qb_place at, void *arg)
{
    qb_select_add_list(&r->select, text, '\0', at, arg, r->requests.n - 1);
}

static void add_chain(struct qb_reader *r, const char *text, struct qb_place at, void *arg)
{
    qb_select_add_chain(&r->select, text, at, arg, r->requests.n - 1);
}

static void read_selection(struct qb_reader *r, const struct qb_node *entry)
{
    static const struct {
        const char *name;
        void (*add)(struct qb_reader *r, const char *text, struct qb_place at, void *arg);
    } ways[] = {
#define ENTRY(name, adder) {#name, adder},
#include "manifest/structure.def"
#undef ENTRY
    };
    const struct qb_node *exclude = child(entry, "exclude");
    struct qb_excludes excludes = {0};
    bool any = false;

    if (exclude)
        each_text(r, exclude, add_exclude, &excludes);
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        const struct qb_node *files = ways[i].add ? child(entry, ways[i].name) : NULL;

        any |= files != NULL;
        if (files)
            each_text(r, files, ways[i].add, &excludes);
    }
    if (!any)
        qb_diag_add(r->diags, QB_M_MISSING_KEY, entry->at, NULL,
                    "an entry of \"images\" without \"path\", \"from_file\" or \"chain\"");
    qb_vec_free(&excludes.patterns);
}

static void read_entry(struct qb_reader *r, const struct qb_node *entry,
                       const struct qb_request *defaults, const struct qb_rules *default_rules)
{
    struct qb_request rq = *defaults;
    struct qb_rules rules = *default_rules;
    size_t before = qb_diags_count(r->diags);

    if (entry->kind == QB_NODE_SCALAR && !qb_node_is_blank(entry)) {
        qb_diag_add(r->diags, QB_M_WRONG_TYPE, entry->at, NULL,
                    "an entry of \"images\" takes a mapping, not a text; write path: before it");
        return;
    }
    if (!qb_field_is(entry, QB_NODE_MAPPING, "a mapping with \"path\"", r->diags))
        return;
    read_keys(r, entry, true, &rq, &rules);
    check_conflicts(r, entry, &rq, &rules);
    if (rq.set == 0 && !qb_rules_ask(&rules) && !r->asked_elsewhere && !r->defaults_broken &&
        qb_diags_count(r->diags) == before)
        qb_diag_add(
            r->diags, QB_M_NOTHING_TO_DO, entry->at, NULL,
            "nothing to do for this image: neither it nor \"defaults\" has a key that changes "
            "something");
    if (!qb_vec_push(&r->requests, rq) || !qb_vec_push(&r->rules, rules))
        qb_diag_memory(r->diags);
    else
        read_selection(r, entry);
}

void qb_entries_read(struct qb_reader *r, const struct qb_node *defaults_node,
                     const struct qb_node *images)
{
    struct qb_request defaults = r->settings.request;
    struct qb_rules rules = {.moves = NULL};
    size_t before = qb_diags_count(r->diags);

    if (defaults_node && qb_field_is(defaults_node, QB_NODE_MAPPING, "a mapping", r->diags))
        read_keys(r, defaults_node, false, &defaults, &rules);
    r->defaults_broken = qb_diags_count(r->diags) > before;
    if (!images || !qb_field_is(images, QB_NODE_SEQUENCE, "a list", r->diags))
        return;
    if (!images->first)
        qb_diag_add(r->diags, QB_M_NO_VALUE, images->at, NULL,
                    "\"images\" is an empty list; an entry is such as \"- path: /srv/vm/*.qcow2\"");
    for (const struct qb_node *entry = images->first; entry; entry = entry->next)
        read_entry(r, entry, &defaults, &rules);
}
