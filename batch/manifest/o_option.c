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

/* NAME=VALUE, and where both are; value is NULL without a '='. */
struct option {
    const char *name, *value;
    struct qb_place name_at, value_at;
};

/* Where options are set. */
struct setting {
    struct qb_batch *batch; /* owns the values */
    struct qb_request *rq;
    uint64_t *listed; /* lists that the command line has set: a bit each, by the key's row */
    struct qb_diags *diags;
};

/* Takes one item, with double commas made single, and moves past it.  The name ends at the first
 * '='.  `out` has room for the whole text, and holds both of its texts. */
static struct option take_item(struct cursor *c, char *out)
{
    struct option o = {.name = out, .name_at = {1, c->column, 0}};

    while (*c->s && (*c->s != ',' || c->s[1] == ',')) {
        const char *from = c->s;

        if (*from == ',')
            step(c);
        if (*from == '=' && !o.value) {
            *out++ = '\0';
            o.value = out;
            o.name_at.length = c->column - o.name_at.column;
            step(c);
            o.value_at = (struct qb_place){1, c->column, 0};
            continue;
        }
        from = c->s;
        step(c);
        memcpy(out, from, (size_t)(c->s - from));
        out += c->s - from;
    }
    *out = '\0';
    if (o.value)
        o.value_at.length = c->column - o.value_at.column;
    else
        o.name_at.length = c->column - o.name_at.column;
    return o;
}

/* Whether the command line had set this list before; from now on it has. */
static bool list_was_begun(const struct setting *to, const struct qb_key_row *key)
{
    uint64_t bit = UINT64_C(1) << (key - qb_keys) % 64, had = *to->listed & bit;

    *to->listed |= bit;
    return had != 0;
}

/* A list: the first text of the command line replaces what was there, others are added. */
static bool set_key(const struct setting *to, const struct qb_key_row *key, const char *value,
                    struct qb_why *why)
{
    if (list_was_begun(to, key) && qb_key_is_list(key))
        return qb_list_add(key, value, to->batch, to->rq, why);
    return qb_key_set(key, value, to->batch, to->rq, why);
}

/* ---- lists of mappings ----------------------------------------------------------------------- */

/* Makes a copy of the key's items with one more, where `index` is the next: that item, or NULL. */
static void *copy_items(const struct setting *to, const struct qb_key_row *key, size_t index)
{
    struct qb_items had = qb_mappings_get(key, to->rq);
    size_t size = key->item_size, n = QB_MAX(had.n, index + 1);
    QB_AUTO(qb_buf) char *items = calloc(n, size);

    if (!items)
        return NULL;
    if (had.n)
        memcpy(items, had.items, had.n * size);
    if (!qb_mappings_set(key, items, n, to->batch, to->rq))
        return NULL;
    return (char *)qb_mappings_get(key, to->rq).items + index * size;
}

/* bitmaps.add.0.name=x: the first one of the command line replaces what was there. */
static int set_part(const struct setting *to, const struct option *o, const struct qb_key_row *key,
                    size_t index, const struct qb_key_row *part)
{
    struct qb_why why;
    const char *value = o->value;
    size_t had;
    void *item;

    if (!list_was_begun(to, key))
        qb_mappings_set(key, NULL, 0, to->batch, to->rq);
    had = qb_mappings_get(key, to->rq).n;
    if (index > had)
        return qb_diag_add(to->diags, QB_M_BAD_VALUE, o->name_at, NULL,
                           "\"%s\": the one before it, %s.%zu, is missing", o->name, key->name,
                           had);
    item = copy_items(to, key, index);
    if (!item)
        return qb_diag_memory(to->diags);
    if (!qb_part_set(part, &value, 1, true, to->batch, item, &why))
        return qb_diag_add(to->diags, QB_M_BAD_VALUE, o->value_at, why.did_you_mean,
                           "%s: \"%s\" %s", o->name, value, why.text);
    return 0;
}

/* Parts that each mapping must have: once a whole -o was read. */
static int check_parts(const struct setting *to)
{
    int bad = 0;

    qb_keys_each (key, QB_SECTION_amend) {
        struct qb_items list;

        if (key->kind != QB_KIND_MAPPINGS || !(*to->listed >> (key - qb_keys) % 64 & 1))
            continue;
        list = qb_mappings_get(key, to->rq);
        for (size_t i = 0; i < list.n; i++) {
            const struct qb_key_row *part =
                qb_part_missing(key, (const char *)list.items + i * key->item_size);

            if (part)
                bad = qb_diag_add(to->diags, QB_M_MISSING_KEY, (struct qb_place){1, 1, 0}, NULL,
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

static int set_option(const struct setting *to, const struct option *o)
{
    const struct qb_key_row *key = qb_key_find(o->name), *part = NULL;
    char values[QB_KEY_VALUES];
    struct qb_why why;
    size_t index;

    if (!key && (key = qb_key_find_dotted(o->name, &index, &part)) && part && o->value)
        return set_part(to, o, key, index, part);
    if (key && key->kind == QB_KIND_MAPPINGS && !part)
        return complain_of_mappings(key, o->name, o->name_at, to->diags);
    if (!key)
        return qb_diag_add(to->diags, QB_M_UNKNOWN_KEY, o->name_at, qb_key_nearest(o->name),
                           "unknown option \"%s\"", o->name);
    if (key->kind == QB_KIND_LATER)
        return qb_diag_add(to->diags, QB_M_NOT_YET, o->name_at, NULL, "\"%s\" is not supported yet",
                           o->name);
    if (key->kind == QB_KIND_GROUP)
        return complain_of_group(key, o->name_at, to->diags);
    if (!o->value)
        return qb_diag_add(to->diags, QB_M_NO_VALUE, o->name_at, NULL, "\"%s\" needs a value: %s",
                           o->name, qb_key_values(part ? part : key, values));
    if (!set_key(to, key, o->value, &why))
        return qb_diag_add(to->diags, why.not_yet ? QB_M_NOT_YET : QB_M_BAD_VALUE, o->value_at,
                           why.did_you_mean, "%s: \"%s\" %s", o->name, o->value, why.text);
    return 0;
}

/* One item.  Sets *help instead when that is what the item asks for. */
static int take_option(const struct setting *to, struct option o, bool *help)
{
    if (!o.value && (strcmp(o.name, "help") == 0 || strcmp(o.name, "?") == 0)) {
        *help = true;
        return 0;
    }
    if (!o.name[0])
        return qb_diag_add(to->diags, QB_M_SYNTAX, o.name_at, NULL,
                           o.value ? "an option has no name"
                                   : "an option is empty (write ,, for a "
                                     "comma inside a value)");
    if (o.value) {
        o.value = qb_batch_keep(to->batch, o.value, strlen(o.value));
        if (!o.value)
            return qb_diag_memory(to->diags);
    }
    return set_option(to, &o);
}

int qb_options_parse(const char *text, struct qb_batch *batch, struct qb_request *rq,
                     uint64_t *listed, struct qb_diags *diags)
{
    const struct setting to = {batch, rq, listed, diags};
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
        take_option(&to, take_item(&c, item), &help);
        if (!*c.s)
            break;
        step(&c);
    }
    if (!qb_diags_count(diags))
        check_parts(&to);
    if (qb_diags_count(diags))
        return -1;
    return help ? QB_OPTIONS_HELP : 0;
}
