#include "manifest/o_option.h"

#include <string.h>

#include "base/own.h"
#include "job/keys.h"
#include "util/text.h"

/* The text is cut into items at single commas; `at` counts the characters that were passed, so that
 * a mistake knows its column. */
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

/* Copies one item to *out (of the whole text's size), undoubling commas, and moves behind it.  The
 * key ends at the first '=', where *value points to what follows; NULL without one. */
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

static int set_option(const char *name, struct qb_place name_at, const char *value,
                      struct qb_place value_at, struct qb_request *rq, struct qb_diags *diags)
{
    const struct qb_key_row *key = qb_key_find(name);
    char values[QB_KEY_VALUES];
    struct qb_why why;

    if (!key)
        return qb_diag_add(diags, QB_M_UNKNOWN_KEY, name_at, qb_key_nearest(name),
                           "unknown option \"%s\"", name);
    if (key->kind == QB_KIND_LATER)
        return qb_diag_add(diags, QB_M_NOT_YET, name_at, NULL, "\"%s\" is not supported yet", name);
    if (!value)
        return qb_diag_add(diags, QB_M_NO_VALUE, name_at, NULL, "\"%s\" needs a value: %s", name,
                           qb_key_values(key, values));
    if (!qb_key_set(key, value, rq, &why))
        return qb_diag_add(diags, why.not_yet ? QB_M_NOT_YET : QB_M_BAD_VALUE, value_at,
                           why.did_you_mean, "%s: \"%s\" %s", name, value, why.text);
    return 0;
}

/* One item.  Sets *help instead when that is what the item asks for. */
static int take_option(struct cursor *c, char *item, struct qb_batch *batch, struct qb_request *rq,
                       bool *help, struct qb_diags *diags)
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
    return set_option(item, name_at, kept, value_at, rq, diags);
}

int qb_options_parse(const char *text, struct qb_batch *batch, struct qb_request *rq,
                     struct qb_diags *diags)
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
        take_option(&c, item, batch, rq, &help, diags);
        if (!*c.s)
            break;
        step(&c);
    }
    if (qb_diags_count(diags))
        return -1;
    return help ? QB_OPTIONS_HELP : 0;
}
