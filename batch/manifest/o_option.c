#include "manifest/o_option.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/own.h"
#include "job/keys.h"
#include "util/text.h"

/* The text is split into items at single commas; `at` counts the characters so far, for the column
 * of a mistake. */
struct cursor {
    const char *s;
    unsigned column;
};

static void step(struct cursor *c)
{
    size_t len = qb_text_utf8(c->s);

    c->s += len ? len : 1;
    c->column++;
}

/* Copies one item to *out (of the whole text's size), with double commas made single, and moves
 * past it.  The key ends at the first '='; *value points after it, or is NULL without one. */
static struct qb_place take_item(struct cursor *c, char *out, char **value,
                                 struct qb_place *value_at)
{
    struct qb_place key_at = {1, c->column, 0};

    *value = NULL;
    while (*c->s && (*c->s != ',' || c->s[1] == ',')) {
        const char *from = c->s;

        if (*from == ',')
            step(c);
        if (*from == '=' && !*value) {
            *out++ = '\0';
            *value = out;
            key_at.length = c->column - key_at.column;
            step(c);
            *value_at = (struct qb_place){1, c->column, 0};
            continue;
        }
        from = c->s;
        step(c);
        memcpy(out, from, (size_t)(c->s - from));
        out += c->s - from;
    }
    *out = '\0';
    if (*value)
        value_at->length = c->column - value_at->column;
    else
        key_at.length = c->column - key_at.column;
    return key_at;
}

/* A list: the first text of the command line replaces what was there, others are added. */
static bool set_key(const struct qb_key_row *key, const char *value, struct qb_batch *batch,
                    struct qb_request *rq, uint64_t *listed, struct qb_why *why)
{
    uint64_t bit = UINT64_C(1) << (key - qb_keys) % 64;
    bool add = qb_key_is_list(key) && (*listed & bit);

    *listed |= bit;
    return add ? qb_list_add(key, value, batch, rq, why) : qb_key_set(key, value, batch, rq, why);
}

/* ---- lists of mappings ----------------------------------------------------------------------- */

/* Makes a copy of the key's items with one more, where `index` is the next: that item, or NULL. */
static void *copy_items(const struct qb_key_row *key, size_t index, struct qb_batch *batch,
                        struct qb_request *rq)
{
    struct qb_items had = qb_mappings_get(key, rq);
    size_t size = key->item_size, n = QB_MAX(had.n, index + 1);
    QB_AUTO(qb_buf) char *items = calloc(n, size);

    if (!items)
        return NULL;
    if (had.n)
        memcpy(items, had.items, had.n * size);
    if (!qb_mappings_set(key, items, n, batch, rq))
        return NULL;
    return (char *)qb_mappings_get(key, rq).items + index * size;
}

/* bitmaps.add.0.name=x: the first one of the command line replaces what was there. */
static int set_part(const struct qb_key_row *key, const struct qb_key_row *part, size_t index,
                    const char *name, struct qb_place name_at, const char *value,
                    struct qb_place value_at, struct qb_batch *batch, struct qb_request *rq,
                    uint64_t *listed, struct qb_diags *diags)
{
    uint64_t bit = UINT64_C(1) << (key - qb_keys) % 64;
    struct qb_why why;
    void *item;

    if (!(*listed & bit))
        qb_mappings_set(key, NULL, 0, batch, rq);
    *listed |= bit;
    if (index > qb_mappings_get(key, rq).n)
        return qb_diag_add(diags, QB_M_BAD_VALUE, name_at, NULL,
                           "\"%s\": the one before it, %s.%zu, is missing", name, key->name,
                           qb_mappings_get(key, rq).n);
    item = copy_items(key, index, batch, rq);
    if (!item)
        return qb_diag_memory(diags);
    if (!qb_part_set(part, &value, 1, true, batch, item, &why))
        return qb_diag_add(diags, QB_M_BAD_VALUE, value_at, why.did_you_mean, "%s: \"%s\" %s", name,
                           value, why.text);
    return 0;
}

/* Parts that each mapping must have: once a whole -o was read. */
static int check_parts(struct qb_request *rq, uint64_t listed, struct qb_diags *diags)
{
    int bad = 0;

    qb_keys_each (key, QB_SECTION_amend) {
        struct qb_items list;

        if (key->kind != QB_KIND_MAPPINGS || !(listed >> (key - qb_keys) % 64 & 1))
            continue;
        list = qb_mappings_get(key, rq);
        for (size_t i = 0; i < list.n; i++) {
            const struct qb_key_row *part =
                qb_part_missing(key, (const char *)list.items + i * key->item_size);

            if (part)
                bad = qb_diag_add(diags, QB_M_MISSING_KEY, (struct qb_place){1, 1, 0}, NULL,
                                  "%s.%zu has no \"%s\": %s.%zu.%s=... in the same option",
                                  key->name, i, part->name, key->name, i, part->name);
        }
    }
    return bad;
}

static int complain_of_mappings(const struct qb_key_row *key, const char *name,
                                struct qb_place name_at, struct qb_diags *diags)
{
    const char *parts[QB_KEYS_MAX];
    char text[200] = "";
    size_t used = 0;

    qb_part_names(key, parts);
    for (size_t i = 0; parts[i] && used < sizeof(text); i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s.0.%s=", i ? ", " : "",
                                 key->name, parts[i]);
    return qb_diag_add(diags, QB_M_UNKNOWN_KEY, name_at, NULL,
                       "\"%s\" is not how a list of mappings is written: %s", name, text);
}

/* ---- an option ------------------------------------------------------------------------------- */

/* A group has no value of its own. */
static int complain_of_group(const struct qb_key_row *group, struct qb_place name_at,
                             struct qb_diags *diags)
{
    char text[200] = "";
    size_t used = 0;

    qb_group_each(key, group) if (used < sizeof(text)) used +=
        (size_t)snprintf(text + used, sizeof(text) - used, "%s%s=", used ? ", " : "", key->name);
    return qb_diag_add(diags, QB_M_UNKNOWN_KEY, name_at, NULL, "\"%s\" has keys of its own: %s",
                       group->name, text);
}

static int set_option(const char *name, struct qb_place name_at, const char *value,
                      struct qb_place value_at, struct qb_batch *batch, struct qb_request *rq,
                      uint64_t *listed, struct qb_diags *diags)
{
    const struct qb_key_row *key = qb_key_find(name), *part = NULL;
    char values[QB_KEY_VALUES];
    struct qb_why why;
    size_t index;

    if (!key && (key = qb_key_find_dotted(name, &index, &part)) && part && value)
        return set_part(key, part, index, name, name_at, value, value_at, batch, rq, listed, diags);
    if (key && key->kind == QB_KIND_MAPPINGS && !part)
        return complain_of_mappings(key, name, name_at, diags);
    if (!key)
        return qb_diag_add(diags, QB_M_UNKNOWN_KEY, name_at, qb_key_nearest(name),
                           "unknown option \"%s\"", name);
    if (key->kind == QB_KIND_LATER)
        return qb_diag_add(diags, QB_M_NOT_YET, name_at, NULL, "\"%s\" is not supported yet", name);
    if (key->kind == QB_KIND_GROUP)
        return complain_of_group(key, name_at, diags);
    if (!value)
        return qb_diag_add(diags, QB_M_NO_VALUE, name_at, NULL, "\"%s\" needs a value: %s", name,
                           qb_key_values(part ? part : key, values));
    if (!set_key(key, value, batch, rq, listed, &why))
        return qb_diag_add(diags, why.not_yet ? QB_M_NOT_YET : QB_M_BAD_VALUE, value_at,
                           why.did_you_mean, "%s: \"%s\" %s", name, value, why.text);
    return 0;
}

/* One item.  Sets *help instead when that is what the item asks for. */
static int take_option(struct cursor *c, char *item, struct qb_batch *batch, struct qb_request *rq,
                       uint64_t *listed, bool *help, struct qb_diags *diags)
{
    struct qb_place name_at, value_at = {0};
    const char *kept = NULL;
    char *value;

    name_at = take_item(c, item, &value, &value_at);
    if (!value && (strcmp(item, "help") == 0 || strcmp(item, "?") == 0)) {
        *help = true;
        return 0;
    }
    if (!item[0])
        return qb_diag_add(diags, QB_M_SYNTAX, name_at, NULL,
                           value ? "an option has no name"
                                 : "an option is empty (write ,, for a "
                                   "comma inside a value)");
    if (value) {
        kept = qb_batch_keep(batch, value, strlen(value));
        if (!kept)
            return qb_diag_memory(diags);
    }
    return set_option(item, name_at, kept, value_at, batch, rq, listed, diags);
}

int qb_options_parse(const char *text, struct qb_batch *batch, struct qb_request *rq,
                     uint64_t *listed, struct qb_diags *diags)
{
    struct cursor c = {text, 1};
    QB_AUTO(qb_buf) char *item = malloc(strlen(text) + 2);
    char *source = strdup(text);
    bool help = false;

    if (qb_diags_init(diags, "-o", source, source ? strlen(text) : 0) < 0)
        return -1;
    diags->one_line = true;
    if (!item || !source)
        return qb_diag_memory(diags);
    for (;;) {
        take_option(&c, item, batch, rq, listed, &help, diags);
        if (!*c.s)
            break;
        step(&c);
    }
    if (!qb_diags_count(diags))
        check_parts(rq, *listed, diags);
    if (qb_diags_count(diags))
        return -1;
    return help ? QB_OPTIONS_HELP : 0;
}
