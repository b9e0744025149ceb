#include "manifest/lists.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "base/vec.h"
#include "manifest/node.h"

struct texts {
    QB_VEC(const char *) list; /* kept by the batch */
};

/* Takes a text, or each of a list of texts, as far as the key accepts it. */
static int take_texts(struct qb_reader *r, const struct qb_key_row *key,
                      const struct qb_node *value, struct texts *texts)
{
    bool is_list = value->kind == QB_NODE_SEQUENCE;
    const struct qb_node *item = is_list ? value->first : value;
    struct qb_why why;
    int bad = 0;

    if (value->kind == QB_NODE_MAPPING)
        return qb_field_is(value, QB_NODE_SCALAR, "a text or a list of texts", r->diags) ? 0 : -1;
    if (!item)
        return qb_diag_add(r->diags, QB_M_NO_VALUE, value->at, NULL, "\"%s\" is an empty list",
                           value->key->text);
    for (; item && bad >= 0; item = is_list ? item->next : NULL) {
        struct qb_key_value v;
        const char *text = qb_field_text(item, r->diags);

        if (!text || !qb_key_read(key, text, &v, &why))
            bad = text ? qb_field_bad(item, &why, r->diags) : -1;
        else if (!(text = qb_batch_keep(r->batch, text, strlen(text))) ||
                 !qb_vec_push(&texts->list, text))
            bad = qb_diag_memory(r->diags);
    }
    return bad;
}

int qb_read_list(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *value,
                 struct qb_request *rq)
{
    struct texts texts = {.list = {0}};
    struct qb_why why;
    int bad = take_texts(r, key, value, &texts);

    if (bad == 0 && !qb_list_set(key, texts.list.items, texts.list.n, r->batch, rq, &why))
        bad = qb_field_bad(value, &why, r->diags);
    qb_vec_free(&texts.list);
    return bad;
}

int qb_read_command(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *value)
{
    struct texts texts = {.list = {0}};
    const char *program;
    struct qb_why why;
    int bad;

    if (!qb_field_is(value, QB_NODE_SEQUENCE, "a list: the program, then each argument", r->diags))
        return -1;
    bad = take_texts(r, key, value, &texts);
    program = bad == 0 ? texts.list.items[0] : "";
    if (bad == 0 && !program[0])
        bad = qb_diag_add(r->diags, QB_M_BAD_VALUE, value->first->at, NULL,
                          "\"%s\" names no program", value->key->text);
    if (bad == 0 && program[0] != '/' && strchr(program, '/'))
        bad = qb_diag_add(r->diags, QB_M_BAD_VALUE, value->first->at, NULL,
                          "%s: which program \"%s\" is would depend on the current directory; "
                          "write its whole path",
                          value->key->text, program);
    if (bad == 0 &&
        !qb_name_list_store(key, 0, texts.list.items, texts.list.n, r->batch, &r->settings, &why))
        bad = qb_field_bad(value, &why, r->diags);
    qb_vec_free(&texts.list);
    return bad;
}

/* Makes the place absolute, in memory of the batch. */
static int place_it(struct qb_reader *r, const struct qb_node *item, const char **place)
{
    QB_AUTO(qb_buf) char *path = qb_select_full_path(&r->select, *place);
    struct stat st;

    *place = path ? qb_batch_keep(r->batch, path, strlen(path)) : NULL;
    if (!*place)
        return qb_diag_memory(r->diags);
    if (stat(path, &st) < 0)
        return qb_diag_add(r->diags, QB_M_FOLDER, item->at, NULL, "cannot look at \"%s\": %s", path,
                           strerror(errno));
    if (!S_ISDIR(st.st_mode) && !S_ISBLK(st.st_mode))
        return qb_diag_add(r->diags, QB_M_FOLDER, item->at, NULL,
                           "\"%s\" is neither a directory nor a block device", path);
    return 0;
}

int qb_read_places(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *value)
{
    const struct qb_node *item = value->kind == QB_NODE_SEQUENCE ? value->first : value;
    struct texts texts = {.list = {0}};
    struct qb_why why;
    int bad = take_texts(r, key, value, &texts);

    for (size_t i = 0; bad == 0 && i < texts.list.n; i++, item = item->next)
        bad = place_it(r, item, &texts.list.items[i]);
    if (bad == 0 &&
        !qb_name_list_store(key, 0, texts.list.items, texts.list.n, r->batch, &r->settings, &why))
        bad = qb_field_bad(value, &why, r->diags);
    qb_vec_free(&texts.list);
    return bad;
}

/* ---- mappings -------------------------------------------------------------------------------- */

static int read_part(struct qb_reader *r, const struct qb_key_row *part,
                     const struct qb_node *value, void *item)
{
    bool is_list = value->kind == QB_NODE_SEQUENCE && part->kind != QB_KIND_NAMES;
    struct texts texts = {.list = {0}};
    struct qb_why why;
    int bad = -1;

    if (!is_list || qb_field_is(value, QB_NODE_SCALAR, "a text", r->diags))
        bad = take_texts(r, part, value, &texts);
    if (bad == 0 && !qb_part_set(part, texts.list.items, texts.list.n, false, r->batch, item, &why))
        bad = qb_field_bad(value, &why, r->diags);
    qb_vec_free(&texts.list);
    return bad;
}

static int read_mapping(struct qb_reader *r, const struct qb_key_row *key,
                        const struct qb_node *mapping, void *item)
{
    size_t before = qb_diags_count(r->diags);
    const struct qb_key_row *missing;
    const char *names[QB_KEYS_MAX];

    qb_part_names(key, names);
    if (mapping->kind != QB_NODE_MAPPING)
        return qb_diag_add(r->diags, QB_M_WRONG_TYPE, mapping->at, NULL,
                           "an item of \"%s\" takes a mapping, not %s", qb_key_last_name(key),
                           qb_node_kind_name(mapping));
    for (const struct qb_node *v = mapping->first; v; v = v->next) {
        const struct qb_key_row *part = qb_part_find(key, v->key->text);

        if (part)
            read_part(r, part, v, item);
        else
            qb_field_not_of(v, names, r->diags);
    }
    if (qb_diags_count(r->diags) > before)
        return -1;
    missing = qb_part_missing(key, item);
    if (missing)
        return qb_diag_add(r->diags, QB_M_MISSING_KEY, mapping->at, NULL,
                           "an item of \"%s\" without \"%s\"", qb_key_last_name(key),
                           missing->name);
    return 0;
}

int qb_read_mappings(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *value,
                     struct qb_request *rq)
{
    QB_AUTO(qb_buf) char *items = NULL;
    size_t n = 0;
    int bad = 0;

    if (!qb_field_is(value, QB_NODE_SEQUENCE, "a list of mappings", r->diags))
        return -1;
    if (!value->first)
        return qb_diag_add(r->diags, QB_M_NO_VALUE, value->at, NULL, "\"%s\" is an empty list",
                           value->key->text);
    for (const struct qb_node *item = value->first; item; item = item->next)
        n++;
    items = calloc(n, key->item_size);
    if (!items)
        return qb_diag_memory(r->diags);
    n = 0;
    for (const struct qb_node *item = value->first; item; item = item->next)
        if (read_mapping(r, key, item, items + n++ * key->item_size) < 0)
            bad = -1;
    if (bad == 0 && !qb_mappings_set(key, items, n, r->batch, rq))
        bad = qb_diag_memory(r->diags);
    return bad;
}
