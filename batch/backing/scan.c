#include "backing/scan.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "util/glob.h"

void qb_paths_free(qb_paths *paths)
{
    qb_vec_each (p, paths)
        free(*p);
    qb_vec_free(paths);
}

/* ---- looking --------------------------------------------------------------------------------- */

int qb_paths_add(qb_paths *list, char *text)
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
    return qb_paths_add(unknown, text);
}

/* A folder below that cannot be looked into is taken in place of what it holds: whose it is says
 * who could have put an overlay there.  A name that is too long counts for its folder. */
static int pass_by(const FTSENT *e, qb_paths *paths, qb_paths *unknown)
{
    const FTSENT *at = e->fts_errno == ENAMETOOLONG ? e->fts_parent : e;

    if (at->fts_level <= FTS_ROOTLEVEL || e->fts_errno == ENOMEM || e->fts_errno == EMFILE ||
        e->fts_errno == ENFILE)
        return add_unknown(unknown, e->fts_path, e->fts_errno);
    if (paths->n > 0 && strncmp(paths->items[paths->n - 1], e->fts_path, at->fts_pathlen) == 0 &&
        !paths->items[paths->n - 1][at->fts_pathlen])
        return 0;
    return qb_paths_add(paths, strndup(e->fts_path, at->fts_pathlen));
}

/* A link counts when it leads to a file: it is one more name, from which a relative backing name
 * may lead elsewhere.  One that leads to a folder is not followed, as it may lead anywhere. */
static int take_entry(const FTSENT *e, qb_paths *paths, qb_paths *unknown)
{
    struct stat st;

    switch (e->fts_info) {
    case FTS_F:
        return qb_paths_add(paths, strdup(e->fts_path));
    case FTS_SL:
        return stat(e->fts_accpath, &st) == 0 && S_ISREG(st.st_mode)
                   ? qb_paths_add(paths, strdup(e->fts_path))
                   : 0;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        return e->fts_errno == ENOENT ? 0 : pass_by(e, paths, unknown);
    default:
        return 0;
    }
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int walk(char *folder, struct qb_stopper stop, qb_paths *paths, qb_paths *unknown)
{
    char *const roots[] = {folder, NULL};
    FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
    int r = fts ? 0 : -1;
    FTSENT *e;

    while (r == 0 && (errno = 0, e = fts_read(fts))) {
        r = take_entry(e, paths, unknown);
        if (r == 0 && stop.stop && stop.stop(stop.arg)) {
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
            r = qb_paths_add(paths, qb_take(path));
    qb_vec_each (d, &diags.list)
        if (r == 0)
            r = qb_paths_add(unknown, strdup(d->text));
    qb_glob_free(&glob);
    qb_diags_free(&diags);
    return r;
}

int qb_scan_here(const struct qb_batch *batch, struct qb_stopper stop, qb_paths *paths,
                 qb_paths *unknown)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < batch->scan.n; i++) {
        const struct qb_scan_root *root = &batch->scan.items[i];
        QB_AUTO(qb_buf) char *path = qb_scan_path(root);

        if (qb_glob_is_pattern(root->text))
            r = take_matches(root, paths, unknown);
        else
            r = path ? walk(path, stop, paths, unknown) : -1;
    }
    return r;
}
