/* Reads requests and settings by the parsers of the manifest's keys, so that a file can have
 * nothing that a manifest could not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "saved/request_json.h"

/* Texts of a list, which the batch keeps. */
struct texts {
    struct qb_batch *batch;
    QB_VEC(const char *) list;
};

struct taking {
    struct qb_batch *batch;
    char *why;
    size_t seen; /* members of the object that a key has taken */
};

static bool complain(const struct taking *t, const char *name, const char *what)
{
    snprintf(t->why, QB_REQUEST_WHY, "%.100s %.180s", name, what);
    return false;
}

static bool keep_text(void *arg, const char *text)
{
    struct texts *t = arg;
    const char *kept = qb_batch_keep(t->batch, text, strlen(text));

    return kept && qb_vec_push(&t->list, kept);
}

/* The text of a key, with its exact bytes; NULL where there is none. */
static const char *text_of(struct taking *t, const struct qb_parsed *o, const char *name)
{
    QB_AUTO(qb_buf) char *text = qb_json_get_path_of(o, name);
    char bytes[80];

    snprintf(bytes, sizeof(bytes), "%.60s_bytes_base64", name);
    t->seen += qb_json_has(o, bytes);
    return text ? qb_batch_keep(t->batch, text, strlen(text)) : NULL;
}

static bool read_texts(struct taking *t, const struct qb_parsed *o, const char *name,
                       struct texts *out)
{
    return (qb_json_each_item(o, name, keep_text, out) && out->list.n > 0) ||
           complain(t, name, "is not a list of texts");
}

static bool take_list(struct taking *t, const struct qb_parsed *o, const struct qb_key_row *key,
                      struct qb_request *rq)
{
    struct texts texts = {.batch = t->batch};
    struct qb_why why = {0};
    bool ok = read_texts(t, o, key->name, &texts);

    if (ok && !qb_list_set(key, texts.list.items, texts.list.n, t->batch, rq, &why))
        ok = complain(t, key->name, why.text);
    qb_vec_free(&texts.list);
    return ok;
}

/* ---- lists of mappings ----------------------------------------------------------------------- */

struct items {
    struct taking *t;
    const struct qb_key_row *key;
    char *items;
    size_t n;
    bool ok;
};

static bool take_part(struct taking *t, const struct qb_parsed *o, const struct qb_key_row *part,
                      void *item)
{
    struct texts texts = {.batch = t->batch};
    struct qb_why why = {0};
    const char *text;
    bool ok;

    if (part->kind == QB_KIND_NAMES) {
        ok = read_texts(t, o, part->name, &texts);
    } else {
        text = text_of(t, o, part->name);
        ok = (text && qb_vec_push(&texts.list, text)) || complain(t, part->name, "is not a text");
    }
    if (ok && !qb_part_set(part, texts.list.items, texts.list.n, false, t->batch, item, &why))
        ok = complain(t, part->name, why.text);
    qb_vec_free(&texts.list);
    return ok;
}

static void take_item(void *arg, const struct qb_parsed *o)
{
    struct items *x = arg;
    struct taking t = {.batch = x->t->batch, .why = x->t->why};
    void *item = x->items + x->n++ * x->key->item_size;

    qb_parts_each(part, x->key) if (x->ok && qb_json_has(o, part->name))
    {
        x->ok = take_part(&t, o, part, item);
        t.seen++;
    }
    if (x->ok && t.seen != qb_json_count(o))
        x->ok = complain(&t, x->key->name, "has a part that this qbatch does not know");
    if (x->ok && qb_part_missing(x->key, item))
        x->ok = complain(&t, x->key->name, "lacks a part");
}

static bool take_items(struct taking *t, const struct qb_parsed *o, const struct qb_key_row *key,
                       struct qb_request *rq)
{
    size_t n = qb_json_list_count(o, key->name);
    struct items x = {.t = t, .key = key, .items = calloc(n + 1, key->item_size), .ok = true};

    if (!x.items)
        return complain(t, key->name, "takes more memory than there is");
    qb_json_each_object(o, key->name, take_item, &x);
    if (x.ok && (x.n != n || n == 0))
        x.ok = complain(t, key->name, "is not a list of mappings");
    if (x.ok && !qb_mappings_set(key, x.items, n, t->batch, rq))
        x.ok = complain(t, key->name, "takes more memory than there is");
    free(x.items);
    return x.ok;
}

/* ---- a request ------------------------------------------------------------------------------- */

static bool take_key(struct taking *t, const struct qb_parsed *o, const struct qb_key_row *key,
                     struct qb_request *rq)
{
    struct qb_why why;
    const char *text;

    if (key->kind == QB_KIND_MAPPINGS)
        return take_items(t, o, key, rq);
    if (qb_key_is_list(key))
        return take_list(t, o, key, rq);
    text = text_of(t, o, key->name);
    if (!text)
        return complain(t, key->name, "is not a text");
    return qb_key_set(key, text, t->batch, rq, &why) || complain(t, key->name, why.text);
}

static bool take_conditions(const struct qb_parsed *o, const char *name, struct qb_conditions *out,
                            struct taking *t)
{
    struct qb_parsed all = qb_json_get_child(o, name);
    struct qb_why why;
    size_t seen = 0;

    for (enum qb_condition i = 0; i < QB_CONDITION_COUNT; i++) {
        const char *text = qb_json_get_text(&all, qb_condition_key(i)->name);

        if (!text)
            continue;
        seen++;
        if (!qb_condition_set(i, text, out, &why))
            return complain(t, qb_condition_key(i)->name, why.text);
    }
    return seen == qb_json_count(&all) || complain(t, name, "has an unknown condition");
}

struct tagging {
    struct taking *t;
    const char **next;
};

static bool take_tag(void *arg, const char *text)
{
    struct tagging *tagging = arg;
    const char *kept =
        *text && !strpbrk(text, ", ") ? qb_batch_keep(tagging->t->batch, text, strlen(text)) : NULL;

    if (kept)
        *tagging->next++ = kept;
    return kept;
}

static bool take_tags(const struct qb_parsed *o, struct taking *t, struct qb_rules *rules)
{
    size_t n = qb_json_list_count(o, "tags");
    const char **tags;

    if (!qb_json_has(o, "tags"))
        return true;
    tags = qb_batch_block(t->batch, (n + 1) * sizeof(*tags));
    if (!tags)
        return complain(t, "tags", "takes more memory than there is");
    rules->tags = tags;
    return (n > 0 && qb_json_each_item(o, "tags", take_tag, &(struct tagging){t, tags})) ||
           complain(t, "tags", "is not a list of words");
}

static bool take_rules(const struct qb_parsed *o, struct taking *t, const struct qb_rules **out)
{
    struct qb_rules rules = {.moves = NULL}, *kept;

    *out = NULL;
    if (!take_conditions(o, "when", &rules.when, t) ||
        !take_conditions(o, "expect", &rules.expect, t) ||
        !take_conditions(o, "after", &rules.after, t) || !take_tags(o, t, &rules))
        return false;
    if (qb_json_get_bool(o, "check_content")) {
        struct qb_moves *moves = qb_batch_new_moves(t->batch);

        if (!moves)
            return complain(t, "check_content", "takes more memory than there is");
        qb_moves_check_content(moves, true);
        rules.moves = moves;
    }
    if (qb_rules_are_none(&rules))
        return true;
    kept = qb_batch_block(t->batch, sizeof(*kept));
    if (!kept)
        return complain(t, "a rule", "takes more memory than there is");
    *kept = rules;
    *out = kept;
    return true;
}

bool qb_request_read(const struct qb_parsed *o, const struct qb_request *base,
                     struct qb_batch *batch, struct qb_request *rq, const struct qb_rules **rules,
                     char why[QB_REQUEST_WHY])
{
    struct qb_parsed all = qb_json_get_child(o, "request");
    struct taking t = {.batch = batch, .why = why};

    *rq = *base;
    if (!all.value)
        return complain(&t, "request", "is missing");
    qb_keys_each (key, QB_SECTION_amend) {
        if (key->kind == QB_KIND_GROUP || !qb_json_has(&all, key->name))
            continue;
        t.seen++;
        if (!take_key(&t, &all, key, rq))
            return false;
    }
    if (t.seen != qb_json_count(&all))
        return complain(&t, "request", "has a key that this qbatch does not know");
    return take_rules(o, &t, rules);
}

/* ---- settings -------------------------------------------------------------------------------- */

static bool take_setting(struct taking *t, const struct qb_parsed *o, const struct qb_key_row *key,
                         struct qb_settings *settings)
{
    struct texts texts = {.batch = t->batch};
    struct qb_why why = {0};
    const char *text;
    bool ok;

    if (!qb_key_is_list(key) && key->kind != QB_KIND_COMMAND && key->kind != QB_KIND_AMOUNTS) {
        text = text_of(t, o, key->name);
        if (!text)
            return complain(t, key->name, "is not a text");
        return qb_setting_set(key, text, settings, &why) || complain(t, key->name, why.text);
    }
    ok = read_texts(t, o, key->name, &texts);
    if (ok && !(key->kind == QB_KIND_AMOUNTS
                    ? qb_steps_set(key, texts.list.items, texts.list.n, t->batch, settings, &why)
                    : qb_name_list_store(key, 0, texts.list.items, texts.list.n, t->batch, settings,
                                         &why)))
        ok = complain(t, key->name, why.text);
    qb_vec_free(&texts.list);
    return ok;
}

static bool take_section(struct taking *t, const struct qb_parsed *o, enum qb_section section,
                         const char *name, struct qb_settings *settings)
{
    struct qb_parsed all = qb_json_get_child(o, name);

    t->seen = 0;
    if (!all.value)
        return complain(t, name, "is missing");
    qb_keys_each (key, section) {
        if (!qb_json_has(&all, key->name))
            continue;
        t->seen++;
        if (!take_setting(t, &all, key, settings))
            return false;
    }
    return t->seen == qb_json_count(&all) ||
           complain(t, name, "has a key that this qbatch does not know");
}

bool qb_settings_read(const struct qb_parsed *o, struct qb_batch *batch, struct qb_request *base,
                      char why[QB_REQUEST_WHY])
{
    struct qb_settings settings = {.policy = batch->policy, .limits = batch->limits};
    struct taking t = {.batch = batch, .why = why};

    qb_request_init(&settings.request);
    if (!take_section(&t, o, QB_SECTION_policy, "policy", &settings) ||
        !take_section(&t, o, QB_SECTION_limits, "limits", &settings) ||
        !take_section(&t, o, QB_SECTION_rollout, "rollout", &settings))
        return false;
    if (t.seen && settings.rollout.steps.n == 0)
        return complain(&t, "rollout", "has no steps");
    batch->policy = settings.policy;
    batch->limits = settings.limits;
    batch->rollout = settings.rollout;
    *base = settings.request;
    return true;
}
