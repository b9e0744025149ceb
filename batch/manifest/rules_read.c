#include "manifest/rules_read.h"

#include <stdlib.h>
#include <string.h>

#include "manifest/node.h"
#include "job/job.h"

/* ---- conditions ------------------------------------------------------------------------------ */

static void read_condition(const struct qb_node *value, struct qb_conditions *out,
                           struct qb_diags *diags)
{
    const char *names[QB_KEYS_MAX], *text;
    struct qb_why why;
    int which = 0;

    qb_key_names(QB_SECTION_condition, names);
    while (names[which] && strcmp(names[which], value->key->text) != 0)
        which++;
    if (!names[which]) {
        qb_field_not_of(value, names, diags);
        return;
    }
    text = qb_field_text(value, diags);
    if (text && !qb_condition_set((enum qb_condition)which, text, out, &why))
        qb_field_bad(value, &why, diags);
}

static void read_conditions(const struct qb_node *value, struct qb_conditions *out,
                            struct qb_diags *diags)
{
    *out = (struct qb_conditions){0};
    if (!qb_field_is(value, QB_NODE_MAPPING, "a mapping of conditions", diags))
        return;
    for (const struct qb_node *v = value->first; v; v = v->next)
        read_condition(v, out, diags);
    if (!value->first)
        qb_diag_add(diags, QB_M_NO_VALUE, value->at, NULL, "\"%s\" has no condition",
                    value->key->text);
}

static void read_when(const struct qb_node *value, struct qb_batch *batch, struct qb_rules *rules,
                      struct qb_diags *diags)
{
    (void)batch;
    read_conditions(value, &rules->when, diags);
}

static void read_expect(const struct qb_node *value, struct qb_batch *batch, struct qb_rules *rules,
                        struct qb_diags *diags)
{
    (void)batch;
    read_conditions(value, &rules->expect, diags);
}

static void read_after(const struct qb_node *value, struct qb_batch *batch, struct qb_rules *rules,
                       struct qb_diags *diags)
{
    (void)batch;
    read_conditions(value, &rules->after, diags);
}

/* ---- backing --------------------------------------------------------------------------------- */

static const struct qb_node *child(const struct qb_node *mapping, const char *name)
{
    for (const struct qb_node *v = mapping->first; v; v = v->next)
        if (strcmp(v->key->text, name) == 0)
            return v;
    return NULL;
}

static void read_rewrite(const struct qb_node *item, struct qb_moves *moves, struct qb_diags *diags)
{
    static const char *const names[] = {"from", "to", NULL};
    const struct qb_node *from, *to;
    const char *from_text, *to_text;
    struct qb_why why;
    bool known = true;

    if (!qb_field_is(item, QB_NODE_MAPPING, "a mapping with \"from\" and \"to\"", diags))
        return;
    from = child(item, names[0]);
    to = child(item, names[1]);
    for (const struct qb_node *v = item->first; v; v = v->next)
        if (v != from && v != to) {
            qb_field_not_of(v, names, diags);
            known = false;
        }
    if (!from || !to) {
        if (known)
            qb_diag_add(diags, QB_M_MISSING_KEY, item->at, NULL, "a rewrite without \"%s\"",
                        from ? names[1] : names[0]);
        return;
    }
    from_text = qb_field_text(from, diags);
    to_text = qb_field_text(to, diags);
    if (from_text && to_text && !qb_moves_add(moves, from_text, to_text, &why))
        qb_field_bad(strstr(why.text, "expression") ? from : to, &why, diags);
}

static void read_rewrites(const struct qb_node *list, struct qb_moves *moves,
                          struct qb_diags *diags)
{
    if (!qb_field_is(list, QB_NODE_SEQUENCE, "a list of {from: ..., to: ...}", diags))
        return;
    if (!list->first)
        qb_diag_add(diags, QB_M_NO_VALUE, list->at, NULL, "\"rewrite\" is an empty list");
    for (const struct qb_node *item = list->first; item; item = item->next)
        read_rewrite(item, moves, diags);
}

static void read_switch(const struct qb_node *value, struct qb_moves *moves,
                        void (*set)(struct qb_moves *moves, bool on), struct qb_diags *diags)
{
    const char *text = qb_field_text(value, diags);
    struct qb_why why;
    bool on;

    if (text && qb_scalar_bool(text, &on, &why))
        set(moves, on);
    else if (text)
        qb_field_bad(value, &why, diags);
}

static void read_fmt(const struct qb_node *value, struct qb_moves *moves, struct qb_diags *diags)
{
    static const char *const words[] = {"keep", "auto", NULL};
    const char *text = qb_field_text(value, diags);
    struct qb_why why;
    unsigned word;

    if (text && qb_scalar_word(text, words, &word, &why))
        qb_moves_fmt_auto(moves, word == 1);
    else if (text)
        qb_diag_add(diags, QB_M_BAD_VALUE, value->at, why.did_you_mean,
                    "fmt: \"%.80s\" is not keep or auto; the format itself is given with the key "
                    "\"backing_fmt\"",
                    text);
}

static void read_backing_key(const struct qb_node *v, struct qb_moves *moves,
                             struct qb_diags *diags)
{
    static const char *const names[] = {"rewrite", "relative", "fmt", "check_content", NULL};
    const char *key = v->key->text;

    if (strcmp(key, names[0]) == 0)
        read_rewrites(v, moves, diags);
    else if (strcmp(key, names[1]) == 0)
        read_switch(v, moves, qb_moves_relative, diags);
    else if (strcmp(key, names[2]) == 0)
        read_fmt(v, moves, diags);
    else if (strcmp(key, names[3]) == 0)
        read_switch(v, moves, qb_moves_check_content, diags);
    else if (strcmp(key, "file") == 0)
        qb_diag_add(diags, QB_M_UNKNOWN_KEY, v->key->at, NULL,
                    "unknown key \"file\"; a backing file is named by the key \"backing_file\", "
                    "instead of \"backing\"");
    else
        qb_field_not_of(v, names, diags);
}

static void read_backing(const struct qb_node *value, struct qb_batch *batch,
                         struct qb_rules *rules, struct qb_diags *diags)
{
    struct qb_moves *moves;

    if (!qb_field_is(value, QB_NODE_MAPPING, "a mapping with \"rewrite\", \"relative\" or \"fmt\"",
                     diags))
        return;
    moves = qb_batch_new_moves(batch);
    if (!moves) {
        qb_diag_memory(diags);
        return;
    }
    for (const struct qb_node *v = value->first; v; v = v->next)
        read_backing_key(v, moves, diags);
    if (!value->first)
        qb_diag_add(diags, QB_M_NO_VALUE, value->at, NULL, "\"backing\" asks for nothing");
    rules->moves = moves;
}

/* ---- tags ------------------------------------------------------------------------------------ */

static const char *read_tag(const struct qb_node *item, struct qb_batch *batch,
                            struct qb_diags *diags)
{
    const char *text = qb_field_text(item, diags), *kept;

    if (!text)
        return NULL;
    if (!*text || strpbrk(text, ", ")) {
        qb_diag_add(diags, QB_M_BAD_VALUE, item->at, NULL,
                    "a tag is a word without blanks and commas");
        return NULL;
    }
    kept = qb_batch_keep(batch, text, strlen(text));
    if (!kept)
        qb_diag_memory(diags);
    return kept;
}

static void read_tags(const struct qb_node *value, struct qb_batch *batch, struct qb_rules *rules,
                      struct qb_diags *diags)
{
    const struct qb_node *item = value->kind == QB_NODE_SEQUENCE ? value->first : value;
    const char **tags;
    size_t n = 0;

    for (const struct qb_node *i = item; i; i = i == value ? NULL : i->next)
        n++;
    tags = qb_batch_block(batch, (n + 1) * sizeof(*tags));
    if (!tags) {
        qb_diag_memory(diags);
        return;
    }
    rules->tags = tags;
    for (; item; item = item == value ? NULL : item->next) {
        const char *tag = read_tag(item, batch, diags);

        if (tag)
            *tags++ = tag;
    }
}

/* ---- all of them ----------------------------------------------------------------------------- */

bool qb_rules_read(const struct qb_node *value, struct qb_batch *batch, struct qb_rules *rules,
                   struct qb_diags *diags)
{
    static void (*const readers[])(const struct qb_node *value, struct qb_batch *batch,
                                   struct qb_rules *rules, struct qb_diags *diags) = {
#define RULE(name, reader) reader,
#include "manifest/structure.def"
#undef RULE
    };

    for (size_t i = 0; qb_rule_names[i]; i++)
        if (strcmp(value->key->text, qb_rule_names[i]) == 0) {
            readers[i](value, batch, rules, diags);
            return true;
        }
    return false;
}
