#include "manifest/select.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "util/glob.h"
#include "util/path.h"

/* The excludes of one entry, applied during a walk. */
struct filter {
    const struct qb_select *select;
    const struct qb_excludes *excludes;
    size_t left_out;
};

/* `folder`/`name`, or just the name when the folder is "" or the name is absolute. */
static char *join(const char *folder, const char *name)
{
    char *path = NULL;
    size_t len = strlen(folder);

    if (name[0] == '/' || len == 0)
        return strdup(name);
    if (asprintf(&path, "%s%s%s", folder, folder[len - 1] == '/' ? "" : "/", name) < 0)
        return NULL;
    return path;
}

/* "" where the manifest is none, or in the current folder: names are then used as they are. */
static char *folder_of(const char *manifest)
{
    return manifest && strchr(manifest, '/') ? qb_path_folder(manifest) : strdup("");
}

int qb_select_init(struct qb_select *select, const char *manifest, struct qb_diags *diags)
{
    QB_AUTO(qb_buf) char *here = getcwd(NULL, 0);

    *select = (struct qb_select){.diags = diags, .folder = folder_of(manifest)};
    if (!select->folder)
        return qb_diag_memory(diags);
    if (!here && select->folder[0] != '/')
        return qb_diag_add(diags, QB_M_FOLDER, (struct qb_place){0}, NULL,
                           "the current directory has no path: %s", strerror(errno));
    select->full = select->folder[0] ? join(here ? here : "", select->folder) : strdup(here);
    return select->full ? 0 : qb_diag_memory(diags);
}

void qb_select_free(struct qb_select *select)
{
    qb_vec_each (pick, &select->picks) {
        free(pick->path);
        free(pick->chain_fault);
    }
    qb_vec_free(&select->picks);
    qb_vec_free(&select->chained);
    free(select->folder);
    free(select->full);
    *select = (struct qb_select){0};
}

/* A relative pattern is compared with the path after the manifest's directory, so that the name of
 * that directory is never interpreted as a pattern. */
static bool is_excluded(const struct qb_select *select, const char *pattern, const char *path)
{
    size_t len;

    if (!strchr(pattern, '/'))
        return qb_glob_match(pattern, qb_path_name(path));
    if (pattern[0] != '/' && path[0] == '/') {
        len = strlen(select->full);
        if (strncmp(path, select->full, len) != 0 ||
            (path[len] != '/' && select->full[len - 1] != '/'))
            return false;
        path += len + strspn(path + len, "/");
    } else if (pattern[0] != '/') {
        len = strlen(select->folder);
        path += len + strspn(path + len, "/");
    } else if (path[0] != '/') {
        QB_AUTO(qb_buf)
        char *full =
            join(select->full, path + strlen(select->folder) + (select->folder[0] != '\0'));

        return full && qb_glob_match(pattern, full);
    }
    return qb_glob_match(pattern, path);
}

static bool leave_out(void *arg, const char *path)
{
    struct filter *filter = arg;
    const struct qb_excludes *ex = filter->excludes;

    for (size_t i = 0; i < ex->patterns.n; i++) {
        if (is_excluded(filter->select, ex->patterns.items[i], path)) {
            filter->left_out++;
            return true;
        }
    }
    return false;
}

/* Where the name begins in the path of what was named relative to the folder: how others call the
 * folder does not matter then. */
static size_t named_at(const struct qb_select *select, const char *path)
{
    size_t len = strlen(select->folder);

    if (!select->is_relative || len == 0 || strncmp(path, select->folder, len) != 0)
        return 0;
    return len + strspn(path + len, "/");
}

/* Takes over the path. */
static int pick(struct qb_select *select, char *path, struct qb_place at, size_t entry)
{
    if (path && qb_vec_push(&select->picks, (struct qb_pick){.path = path,
                                                             .named_at = named_at(select, path),
                                                             .at = at,
                                                             .entry = entry}))
        return 0;
    free(path);
    return qb_diag_memory(select->diags);
}

/* The shell syntax that was probably meant by a path that does not exist; "": unknown. */
static const char *meant(const char *text)
{
    const char *brace = strchr(text, '{');

    if (text[0] == '~')
        return "; ~ is not expanded: write the home directory";
    if (text[0] == '$')
        return "; variables are not expanded: write what it stands for";
    if (strstr(text, "://"))
        return "; only files and block devices can be amended";
    if (brace && strchr(brace, ',') && strchr(brace, '}'))
        return "; braces are not expanded: write a list of paths";
    return "";
}

static int complain_empty(struct qb_select *select, const char *pattern, struct qb_place at,
                          size_t left_out)
{
    QB_AUTO(qb_buf) char *path = join(select->folder, pattern);

    if (left_out)
        return qb_diag_add(select->diags, QB_M_NO_MATCH, at, NULL,
                           "everything that \"%s\" matches is excluded", pattern);
    if (path && access(path, F_OK) == 0)
        return qb_diag_add(select->diags, QB_M_NO_MATCH, at, NULL,
                           "no file matches \"%s\"; to mean the file of just this name, put a "
                           "backslash before each of * ? [",
                           pattern);
    return qb_diag_add(select->diags, QB_M_NO_MATCH, at, NULL, "no file matches \"%s\"%s", pattern,
                       meant(pattern));
}

int qb_select_odd_stars(struct qb_diags *diags, const char *pattern, struct qb_place at)
{
    return qb_diag_add(diags, QB_M_BAD_VALUE, at, NULL,
                       "\"%s\": ** stands for directories only between slashes: write **/*, or * "
                       "for one directory",
                       pattern);
}

static int add_pattern(struct qb_select *select, const char *pattern, struct qb_place at,
                       struct filter *filter, size_t entry)
{
    QB_AUTO(qb_glob_free)
    struct qb_glob glob = {.folder = select->folder,
                           .skip = leave_out,
                           .arg = filter,
                           .at = at,
                           .diags = select->diags};

    if (qb_glob_expand(&glob, pattern) < 0)
        return -1;
    if (glob.paths.n == 0)
        return complain_empty(select, pattern, at, filter->left_out);
    qb_vec_each (path, &glob.paths) {
        if (pick(select, qb_take(path), at, entry) < 0)
            return -1;
        select->picks.items[select->picks.n - 1].found = true;
    }
    return 0;
}

char *qb_select_path(const struct qb_select *select, const char *name)
{
    return join(select->folder, name);
}

char *qb_select_full_path(const struct qb_select *select, const char *name)
{
    return join(select->full, name);
}

int qb_select_pick(struct qb_select *select, char *path, struct qb_place at,
                   const struct qb_excludes *excludes, size_t entry)
{
    struct filter filter = {select, excludes, 0};

    if (path && leave_out(&filter, path)) {
        free(path);
        return 0;
    }
    return pick(select, path, at, entry);
}

/* ---- paths and patterns ---------------------------------------------------------------------- */

int qb_select_add(struct qb_select *select, const char *text, struct qb_place at,
                  const struct qb_excludes *excludes, size_t entry)
{
    struct filter filter = {select, excludes, 0};
    char *path;

    select->is_relative = text[0] != '/';
    if (qb_glob_has_odd_stars(text))
        return qb_select_odd_stars(select->diags, text, at);
    if (qb_glob_is_pattern(text))
        return add_pattern(select, text, at, &filter, entry);
    path = join(select->folder, text);
    if (path && leave_out(&filter, path)) {
        free(path);
        return qb_diag_add(select->diags, QB_M_NO_MATCH, at, NULL,
                           "\"%s\" is excluded by its own entry", text);
    }
    if (path && *meant(text) && access(path, F_OK) < 0) {
        free(path);
        return qb_diag_add(select->diags, QB_M_NO_MATCH, at, NULL, "there is no \"%s\"%s", text,
                           meant(text));
    }
    return pick(select, path, at, entry);
}
