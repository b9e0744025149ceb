/* Keys in groups, and keys that are lists. */
#include <string.h>

#include "job/keys.h"

bool qb_key_is_in(const struct qb_key_row *key, const struct qb_key_row *group)
{
    size_t len = strlen(group->name);

    return group->kind == QB_KIND_GROUP && key->section == group->section &&
           strncmp(key->name, group->name, len) == 0 && key->name[len] == '.';
}

bool qb_key_is_nested(const struct qb_key_row *key)
{
    return key->kind != QB_KIND_LATER && strchr(key->name, '.');
}

const struct qb_key_row *qb_group_find(const struct qb_key_row *group, const char *name)
{
    qb_group_each(key, group) if (strcmp(qb_key_last_name(key), name) == 0) return key;
    return NULL;
}

size_t qb_key_top_names(const char *names[QB_KEYS_MAX])
{
    size_t n = 0;

    qb_keys_each (key, QB_SECTION_amend)
        if (n < QB_KEYS_MAX - 1 && !qb_key_is_nested(key))
            names[n++] = key->name;
    names[n] = NULL;
    return n;
}

size_t qb_group_names(const struct qb_key_row *group, const char *names[QB_KEYS_MAX])
{
    size_t n = 0;

    qb_group_each(key, group) if (n < QB_KEYS_MAX - 1) names[n++] = qb_key_last_name(key);
    names[n] = NULL;
    return n;
}

size_t qb_key_field_size(const struct qb_key_row *key)
{
    switch (key->kind) {
    case QB_KIND_SWITCH:
    case QB_KIND_WORD_BOOL:
        return sizeof(bool);
    case QB_KIND_WORD:
    case QB_KIND_WORDS:
    case QB_KIND_COMPAT:
    case QB_KIND_AUTO_NUMBER:
        return sizeof(unsigned);
    case QB_KIND_NAMES:
    case QB_KIND_COMMAND:
        return sizeof(struct qb_name_list);
    case QB_KIND_MAPPINGS:
        return sizeof(struct qb_items);
    case QB_KIND_DURATION:
    case QB_KIND_AUTO_DURATION:
    case QB_KIND_PERCENT:
        return sizeof(double);
    case QB_KIND_WORD_TEXT:
    case QB_KIND_FORMAT:
    case QB_KIND_TEXT:
    case QB_KIND_NAME:
        return sizeof(const char *);
    default:
        return sizeof(uint64_t);
    }
}

void qb_group_clear(const struct qb_key_row *group, struct qb_request *rq)
{
    qb_group_each(key, group)
    {
        memset((char *)rq + key->field, 0, qb_key_field_size(key));
        rq->set &= ~key->bit;
    }
}

bool qb_name_list_store(const struct qb_key_row *key, size_t n, const char *const *texts,
                        size_t more, struct qb_batch *batch, void *holder, struct qb_why *why)
{
    struct qb_name_list *names = (struct qb_name_list *)((char *)holder + key->field);
    struct qb_key_value v;
    const char **items;

    for (size_t i = 0; i < more; i++)
        if (!qb_key_read(key, texts[i], &v, why))
            return false;
    items = qb_batch_block(batch, (n + more + 1) * sizeof(*items));
    if (!items)
        return qb_why_not(why, NULL, "takes more memory than there is");
    for (size_t i = 0; i < n + more; i++)
        items[i] = i < n ? names->items[i] : texts[i - n];
    *names = (struct qb_name_list){items, n + more};
    return true;
}

static bool add_words(const struct qb_key_row *key, unsigned words, const char *const *texts,
                      size_t n, struct qb_request *rq, struct qb_why *why)
{
    struct qb_key_value v;

    for (size_t i = 0; i < n; i++) {
        if (!qb_key_read(key, texts[i], &v, why))
            return false;
        words |= (unsigned)v.n;
    }
    memcpy((char *)rq + key->field, &words, sizeof(words));
    rq->set |= key->bit;
    return true;
}

bool qb_list_set(const struct qb_key_row *key, const char *const *texts, size_t n,
                 struct qb_batch *batch, struct qb_request *rq, struct qb_why *why)
{
    if (key->kind == QB_KIND_WORDS)
        return add_words(key, 0, texts, n, rq, why);
    if (!qb_name_list_store(key, 0, texts, n, batch, rq, why))
        return false;
    rq->set |= key->bit;
    return true;
}

bool qb_list_add(const struct qb_key_row *key, const char *text, struct qb_batch *batch,
                 struct qb_request *rq, struct qb_why *why)
{
    const void *field = (const char *)rq + key->field;
    const struct qb_name_list *names = field;

    if (key->kind == QB_KIND_WORDS)
        return add_words(key, *(const unsigned *)field, &text, 1, rq, why);
    if (!qb_name_list_store(key, names->n, &text, 1, batch, rq, why))
        return false;
    rq->set |= key->bit;
    return true;
}
