#include "manifest/scan_section.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "manifest/node.h"
#include "manifest/select.h"
#include "util/glob.h"

static int check_there(struct qb_reader *r, const struct qb_scan_root *root, struct qb_place at)
{
    QB_AUTO(qb_buf) char *path = qb_scan_path(root);
    struct stat st;

    if (!path)
        return qb_diag_memory(r->diags);
    if (stat(path, &st) < 0)
        return qb_diag_add(r->diags, QB_M_FOLDER, at, NULL, "cannot look into \"%s\": %s", path,
                           strerror(errno));
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return qb_diag_add(r->diags, QB_M_FOLDER, at, NULL,
                           "\"%s\" is neither a directory nor a file", path);
    return 0;
}

static int read_root(struct qb_reader *r, const struct qb_node *item)
{
    const char *text = qb_field_text(item, r->diags);
    struct qb_scan_root root;

    if (!text)
        return -1;
    if (!text[0])
        return qb_diag_add(r->diags, QB_M_BAD_VALUE, item->at, NULL, "an empty path");
    if (qb_glob_has_odd_stars(text))
        return qb_select_odd_stars(r->diags, text, item->at);
    root.folder = qb_batch_keep(r->batch, r->select.folder, strlen(r->select.folder));
    root.text = qb_batch_keep(r->batch, text, strlen(text));
    if (!root.folder || !root.text || !qb_vec_push(&r->batch->scan, root))
        return qb_diag_memory(r->diags);
    return qb_glob_is_pattern(text) ? 0 : check_there(r, &root, item->at);
}

static void read_roots(struct qb_reader *r, const struct qb_node *value)
{
    const struct qb_node *item = value->kind == QB_NODE_SEQUENCE ? value->first : value;

    if (!item)
        qb_diag_add(r->diags, QB_M_NO_VALUE, value->at, NULL, "\"scan\" is an empty list");
    else if (value->kind == QB_NODE_MAPPING)
        qb_field_is(value, QB_NODE_SCALAR, "a directory or a list of directories", r->diags);
    else
        for (; item; item = item == value ? NULL : item->next)
            read_root(r, item);
}

void qb_scan_read(struct qb_reader *r, const struct qb_node *mapping)
{
    static const char *const names[] = {"scan", NULL};
    bool found = false;

    if (!qb_field_is(mapping, QB_NODE_MAPPING, "a mapping with \"scan\"", r->diags))
        return;
    for (const struct qb_node *v = mapping->first; v; v = v->next) {
        if (strcmp(v->key->text, "scan") != 0) {
            qb_field_unknown(v, names, r->diags);
            continue;
        }
        found = true;
        read_roots(r, v);
    }
    if (!found)
        qb_diag_add(r->diags, QB_M_MISSING_KEY, mapping->key->at, NULL,
                    "\"graph\" without \"scan\"");
}
