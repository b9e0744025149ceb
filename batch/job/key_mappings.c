/* Keys that are lists of small mappings, such as `bitmaps.add: [{name: a, granularity: 64K}]`. */
#include <string.h>

#include "job/keys.h"

const struct qb_key_row *qb_part_find(const struct qb_key_row *key, const char *name)
{
    qb_parts_each(part, key) if (strcmp(part->name, name) == 0) return part;
    return NULL;
}

size_t qb_part_names(const struct qb_key_row *key, const char *names[QB_KEYS_MAX])
{
    size_t n = 0;

    qb_parts_each(part, key) if (n < QB_KEYS_MAX - 1) names[n++] = part->name;
    names[n] = NULL;
    return n;
}

/* Reads "0." to "65535.", without zeros before it: what follows it, or NULL. */
static const char *read_index(const char *s, size_t *index)
{
    const char *digits = s;

    *index = 0;
    while (*s >= '0' && *s <= '9' && s - digits < 6)
        *index = *index * 10 + (size_t)(*s++ - '0');
    return s > digits && *s == '.' && (digits[0] != '0' || s == digits + 1) ? s + 1 : NULL;
}

const struct qb_key_row *qb_key_find_dotted(const char *name, size_t *index,
                                            const struct qb_key_row **part)
{
    qb_keys_each (key, QB_SECTION_amend) {
        size_t len = strlen(key->name);
        const char *rest;

        if (key->kind != QB_KIND_MAPPINGS || strncmp(name, key->name, len) != 0 || name[len] != '.')
            continue;
        rest = read_index(name + len + 1, index);
        if (!rest)
            return NULL;
        *part = qb_part_find(key, rest);
        return key;
    }
    return NULL;
}

bool qb_part_set(const struct qb_key_row *part, const char *const *texts, size_t n, bool add,
                 struct qb_batch *batch, void *item, struct qb_why *why)
{
    const struct qb_name_list *names = (const struct qb_name_list *)((char *)item + part->field);
    struct qb_key_value v;

    if (part->kind == QB_KIND_NAMES)
        return qb_name_list_store(part, add ? names->n : 0, texts, n, batch, item, why);
    if (!qb_key_read(part, texts[n - 1], &v, why))
        return false;
    qb_key_store(part, &v, (char *)item + part->field);
    return true;
}

const struct qb_key_row *qb_part_missing(const struct qb_key_row *key, const void *item)
{
    qb_parts_each(part, key)
    {
        const char *text;
        uint64_t number;

        qb_part_get(part, item, 0, &number, &text);
        if (part->is_required && !number && !text)
            return part;
    }
    return NULL;
}

bool qb_mappings_set(const struct qb_key_row *key, const void *items, size_t n,
                     struct qb_batch *batch, struct qb_request *rq)
{
    void *copy = qb_batch_block(batch, n * key->item_size + 1);
    struct qb_items list = {copy, n};

    if (!copy)
        return false;
    if (n)
        memcpy(copy, items, n * key->item_size);
    memcpy((char *)rq + key->field, &list, sizeof(list));
    rq->set |= key->bit;
    return true;
}

struct qb_items qb_mappings_get(const struct qb_key_row *key, const struct qb_request *rq)
{
    struct qb_items list;

    memcpy(&list, (const char *)rq + key->field, sizeof(list));
    return list;
}
