#include "saved/request_json.h"

#include <string.h>

#include "util/text.h"

static bool put_texts(struct qb_json *o, const struct qb_key_row *key, const char *name,
                      const void *holder)
{
    const char *words[QB_KEYS_MAX], *const *texts;
    size_t n = qb_key_texts(key, holder, words, &texts);
    struct qb_json list = qb_json_list();
    bool ok = true;

    for (size_t i = 0; i < n; i++) {
        ok &= qb_text_is_utf8(texts[i]);
        qb_json_append_string(&list, texts[i]);
    }
    qb_json_child(o, name, list);
    return ok;
}

static bool put_amounts(struct qb_json *o, const struct qb_key_row *key, const char *name,
                        const void *holder)
{
    const struct qb_amounts *amounts = (const void *)((const char *)holder + key->field);
    struct qb_json list = qb_json_list();
    char text[QB_KEY_TEXT];

    for (size_t i = 0; i < amounts->n; i++)
        qb_json_append_string(&list, qb_amount_text(&amounts->items[i], text));
    qb_json_child(o, name, list);
    return true;
}

static bool is_list(const struct qb_key_row *key)
{
    return qb_key_is_list(key) || key->kind == QB_KIND_COMMAND;
}

static bool put_value(struct qb_json *o, const struct qb_key_row *key, const char *name,
                      const void *holder)
{
    char text[QB_KEY_TEXT];

    if (key->kind == QB_KIND_AMOUNTS)
        return put_amounts(o, key, name, holder);
    if (is_list(key))
        return put_texts(o, key, name, holder);
    qb_json_path_of(o, name, qb_key_text(key, holder, text));
    return true;
}

/* What an item has not got is left out. */
static bool put_item(struct qb_json *list, const struct qb_key_row *key, const void *item)
{
    static const char nothing[256];
    struct qb_json o = qb_json_object();
    bool ok = key->item_size <= sizeof(nothing);

    qb_parts_each(part, key) if (ok && qb_key_differs(part, item, nothing)) ok =
        put_value(&o, part, part->name, item);
    qb_json_append(list, o);
    return ok;
}

static bool put_items(struct qb_json *o, const struct qb_key_row *key, const struct qb_request *rq)
{
    struct qb_items items = qb_mappings_get(key, rq);
    struct qb_json list = qb_json_list();
    bool ok = true;

    for (size_t i = 0; i < items.n; i++)
        ok &= put_item(&list, key, (const char *)items.items + i * key->item_size);
    qb_json_child(o, key->name, list);
    return ok;
}

/* A key that changes something by itself is there if it is asked for, the members of a group that
 * shares a bit if they have a value. */
static bool is_asked(const struct qb_key_row *key, const struct qb_request *rq,
                     const struct qb_request *none)
{
    if (key->bit && !(rq->set & key->bit))
        return false;
    return (key->bit && !qb_key_is_nested(key)) || qb_key_differs(key, rq, none);
}

static void put_conditions(struct qb_json *o, const char *name, const struct qb_conditions *c)
{
    struct qb_json all = qb_json_object();

    for (enum qb_condition i = 0; i < QB_CONDITION_COUNT; i++)
        if (c->set >> i & 1)
            qb_json_string(&all, qb_condition_key(i)->name, c->texts[i]);
    qb_json_child(o, name, all);
}

/* Left out where there are none, as by earlier versions. */
static void put_tags(struct qb_json *o, const char *const *tags)
{
    struct qb_json list;

    if (!tags || !*tags)
        return;
    list = qb_json_list();
    for (; *tags; tags++)
        qb_json_append_string(&list, *tags);
    qb_json_child(o, "tags", list);
}

bool qb_request_json(struct qb_json *o, const struct qb_request *rq, const struct qb_rules *rules)
{
    struct qb_json all = qb_json_object();
    const struct qb_rules empty = {.moves = NULL};
    struct qb_request none;
    bool ok = true;

    qb_request_init(&none);
    qb_keys_each (key, QB_SECTION_amend) {
        if (key->kind == QB_KIND_GROUP || !is_asked(key, rq, &none))
            continue;
        ok &= key->kind == QB_KIND_MAPPINGS ? put_items(&all, key, rq)
                                            : put_value(&all, key, key->name, rq);
    }
    rules = rules ? rules : &empty;
    qb_json_child(o, "request", all);
    put_conditions(o, "when", &rules->when);
    put_conditions(o, "expect", &rules->expect);
    put_conditions(o, "after", &rules->after);
    qb_json_bool(o, "check_content", rules->moves && qb_moves_checks_content(rules->moves));
    put_tags(o, rules->tags);
    return ok;
}

static bool put_section(struct qb_json *o, enum qb_section section, const char *name,
                        const struct qb_settings *s, const struct qb_settings *standard)
{
    struct qb_json all = qb_json_object();
    bool ok = true;

    qb_keys_each (key, section)
        if (qb_key_differs(key, s, standard))
            ok &= put_value(&all, key, key->name, s);
    qb_json_child(o, name, all);
    return ok;
}

bool qb_settings_json(struct qb_json *o, const struct qb_batch *batch)
{
    struct qb_settings s = {.policy = batch->policy,
                            .limits = batch->limits,
                            .rollout = batch->rollout},
                       standard;
    struct qb_batch fresh;

    qb_batch_init(&fresh);
    standard = (struct qb_settings){.policy = fresh.policy, .limits = fresh.limits};
    qb_request_init(&standard.request);
    s.request = batch->n_jobs ? batch->jobs[0].request : standard.request;
    if (!put_section(o, QB_SECTION_policy, "policy", &s, &standard) ||
        !put_section(o, QB_SECTION_limits, "limits", &s, &standard))
        return false;
    return put_section(o, QB_SECTION_rollout, "rollout", &s, &standard);
}
