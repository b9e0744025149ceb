#include "batch/scan.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "batch/fields.h"
#include "batch/glob.h"

void qb_paths_free(qb_paths *paths)
{
    qb_vec_each (p, paths)
        free(*p);
    qb_vec_free(paths);
}

static char *join(const struct qb_scan_root *root)
{
    size_t len = strlen(root->folder);
    char *path = NULL;

    if (root->text[0] == '/' || len == 0)
        return strdup(root->text);
    if (asprintf(&path, "%s%s%s", root->folder, root->folder[len - 1] == '/' ? "" : "/",
                 root->text) < 0)
        return NULL;
    return path;
}

/* ---- the section ----------------------------------------------------------------------------- */

static int check_there(struct qb_reader *r, const struct qb_scan_root *root, struct qb_place at)
{
    QB_AUTO(qb_buf) char *path = join(root);
    struct stat st;

    if (!path)
        return qb_diag_memory(r->diags);
    if (stat(path, &st) < 0)
        return qb_diag_add(r->diags, QB_M_FOLDER, at, NULL, "cannot look into \"%s\": %s", path,
                           strerror(errno));
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return qb_diag_add(r->diags, QB_M_FOLDER, at, NULL, "\"%s\" is neither a folder nor a file",
                           path);
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
        qb_field_is(value, QB_NODE_SCALAR, "a folder or a list of folders", r->diags);
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

/* ---- looking --------------------------------------------------------------------------------- */

static int add(qb_paths *list, char *text)
{
    if (text && qb_vec_push(list, text))
        return 0;
    free(text);
    return -1;
}

static int add_unknown(qb_paths *unknown, const char *path, int errnum)
{
    char *text = NULL;

    if (asprintf(&text, "cannot look at \"%s\": %s", path, strerror(errnum)) < 0)
        return -1;
    return add(unknown, text);
}

/* A link counts when it leads to a file: it is one more name, from which a relative backing name
 * may lead elsewhere.  One that leads to a folder is not followed, as it may lead anywhere. */
static int take_entry(const FTSENT *e, qb_paths *paths, qb_paths *unknown)
{
    struct stat st;

    switch (e->fts_info) {
    case FTS_F:
        return add(paths, strdup(e->fts_path));
    case FTS_SL:
        return stat(e->fts_accpath, &st) == 0 && S_ISREG(st.st_mode)
                   ? add(paths, strdup(e->fts_path))
                   : 0;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        return e->fts_errno == ENOENT ? 0 : add_unknown(unknown, e->fts_path, e->fts_errno);
    default:
        return 0;
    }
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int walk(char *folder, bool (*stopped)(void), qb_paths *paths, qb_paths *unknown)
{
    char *const roots[] = {folder, NULL};
    FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
    int r = fts ? 0 : -1;
    FTSENT *e;

    while (r == 0 && (errno = 0, e = fts_read(fts))) {
        r = take_entry(e, paths, unknown);
        if (r == 0 && stopped && stopped()) {
            r = add_unknown(unknown, e->fts_path, EINTR);
            break;
        }
    }
    if (fts)
        fts_close(fts);
    return r;
}

/* The complaints of a pattern are about the manifest while it is read; here they are about the
 * world. */
static int take_matches(const struct qb_scan_root *root, qb_paths *paths, qb_paths *unknown)
{
    struct qb_diags diags;
    struct qb_glob glob = {.folder = root->folder, .diags = &diags};
    int r = qb_diags_init(&diags, "graph.scan", NULL, 0);

    qb_glob_expand(&glob, root->text);
    qb_vec_each (path, &glob.paths)
        if (r == 0)
            r = add(paths, qb_take(path));
    qb_vec_each (d, &diags.list)
        if (r == 0)
            r = add(unknown, strdup(d->text));
    qb_glob_free(&glob);
    qb_diags_free(&diags);
    return r;
}

int qb_scan_files(const struct qb_batch *batch, bool (*stopped)(void), qb_paths *paths,
                  qb_paths *unknown)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < batch->scan.n; i++) {
        const struct qb_scan_root *root = &batch->scan.items[i];
        QB_AUTO(qb_buf) char *path = join(root);

        if (qb_glob_is_pattern(root->text))
            r = take_matches(root, paths, unknown);
        else
            r = path ? walk(path, stopped, paths, unknown) : -1;
    }
    return r;
}
