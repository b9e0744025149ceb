#include "util/glob.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "util/signal.h"

/* The pattern is walked once for all its components: a folder is visited with the set of components
 * that may match next inside it, a bit each.  So several `**` cost no more than one. */
struct walk {
    struct qb_glob *glob;
    char *text; /* of the parts */
    char *parts[QB_GLOB_MAX_PARTS + 1];
    unsigned n;
    char path[PATH_MAX]; /* where the walk is */
    unsigned depth;      /* folders above it whose names are being followed */
    bool failed, stopped;
};

struct name {
    char *text;
    unsigned char type; /* DT_ as readdir says it */
};

bool qb_glob_is_pattern(const char *text)
{
    return text[strcspn(text, "*?[")] != '\0';
}

bool qb_glob_has_odd_stars(const char *pattern)
{
    bool in_brackets = false;

    for (const char *s = pattern; *s; s++) {
        if (*s == '\\' && s[1])
            s++;
        else if (*s == '[' || *s == ']' || *s == '/')
            in_brackets = *s == '[';
        else if (!in_brackets && s[0] == '*' && s[1] == '*' &&
                 ((s != pattern && s[-1] != '/') || (s[2] && s[2] != '/')))
            return true;
        else if (!in_brackets && s[0] == '*' && s[1] == '*')
            s++;
    }
    return false;
}

static bool is_stars(const char *part)
{
    return strcmp(part, "**") == 0;
}

/* ---- cutting --------------------------------------------------------------------------------- */

static int add_part(struct walk *w, char *part)
{
    if (w->n == QB_GLOB_MAX_PARTS)
        return qb_diag_add(w->glob->diags, QB_M_TOO_BIG, w->glob->at, NULL,
                           "a pattern of more than %d components", QB_GLOB_MAX_PARTS - 1);
    w->parts[w->n++] = part;
    return 0;
}

/* Two `**` in a row say no more than one; a last one means every file below. */
static int cut(struct walk *w, const char *pattern)
{
    static char any[] = "*";
    char *rest;

    w->text = strdup(pattern);
    if (!w->text)
        return qb_diag_memory(w->glob->diags);
    for (char *part = strtok_r(w->text, "/", &rest); part; part = strtok_r(NULL, "/", &rest)) {
        if (w->n > 0 && is_stars(part) && is_stars(w->parts[w->n - 1]))
            continue;
        if (add_part(w, part) < 0)
            return -1;
    }
    if (w->n > 0 && is_stars(w->parts[w->n - 1]))
        return add_part(w, any);
    return 0;
}

/* ---- walking --------------------------------------------------------------------------------- */

static void complain(struct walk *w, int errnum)
{
    w->failed = true;
    qb_diag_add(w->glob->diags, QB_M_FOLDER, w->glob->at, NULL, "cannot look into \"%s\": %s",
                w->path[0] ? w->path : ".", strerror(errnum));
}

/* Whether somebody pressed ^C; that is said once. */
static bool is_stopped(struct walk *w)
{
    if (!w->stopped && qb_signal_seen()) {
        w->stopped = true;
        complain(w, EINTR);
    }
    return w->stopped;
}

static bool is_image_like(mode_t mode)
{
    return S_ISREG(mode) || S_ISBLK(mode);
}

static void add_file(struct walk *w)
{
    struct qb_glob *g = w->glob;
    char *copy;

    if (g->skip && g->skip(g->arg, w->path))
        return;
    copy = strdup(w->path);
    if (!copy || !qb_vec_push(&g->paths, copy)) {
        free(copy);
        w->failed = true;
        qb_diag_memory(g->diags);
    }
}

/* Whether the failure is about the folder, whoever looks, and not about this process. */
static bool is_of_folder(int errnum)
{
    return errnum != ENOMEM && errnum != EMFILE && errnum != ENFILE && errnum != EINTR;
}

/* That the folder or name at w->path cannot be looked into.  Where the pattern itself names it,
 * that is a mistake.  A folder that was found by a wildcard is whoever's: it is selected in place
 * of what it holds, once. */
static void pass_by(struct walk *w, int errnum)
{
    const struct qb_glob *g = w->glob;

    if (w->depth == 0 || !is_of_folder(errnum))
        complain(w, errnum);
    else if (g->paths.n == 0 || strcmp(g->paths.items[g->paths.n - 1], w->path) != 0)
        add_file(w);
}

/* Appends a name to the path: the new length, or 0 when that is too long. */
static size_t append(struct walk *w, size_t len, const char *name)
{
    size_t n = strlen(name), slash = len > 0 && w->path[len - 1] != '/';

    if (len + slash + n >= sizeof(w->path)) {
        w->path[len] = '\0';
        pass_by(w, ENAMETOOLONG);
        return 0;
    }
    if (slash)
        w->path[len++] = '/';
    memcpy(w->path + len, name, n + 1);
    return len + n;
}

static void visit(struct walk *w, size_t len, uint64_t states);

/* A component without wildcards needs no listing of its folder, only the right to pass it. */
static void visit_literal(struct walk *w, size_t len, unsigned part)
{
    struct stat st;

    len = append(w, len, w->parts[part]);
    if (!len)
        return;
    if (stat(w->path, &st) < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            pass_by(w, errno);
    } else if (part + 1 == w->n) {
        if (is_image_like(st.st_mode))
            add_file(w);
    } else if (S_ISDIR(st.st_mode)) {
        visit(w, len, UINT64_C(1) << (part + 1));
    }
}

/* Fills in what readdir did not say.  false: it is gone, or a link to nowhere. */
static bool look(struct walk *w, unsigned char type, bool *is_link, mode_t *mode)
{
    struct stat st;

    *is_link = type == DT_LNK;
    *mode = DTTOIF(type);
    if (type != DT_LNK && type != DT_UNKNOWN)
        return true;
    if (type == DT_UNKNOWN && lstat(w->path, &st) == 0)
        *is_link = S_ISLNK(st.st_mode);
    if (stat(w->path, &st) < 0)
        return false;
    *mode = st.st_mode;
    return true;
}

/* One name of a folder against every component that may match in it. */
static void visit_name(struct walk *w, size_t len, uint64_t states, const struct name *name)
{
    uint64_t below = 0;
    bool through = false, last = false, is_link;
    mode_t mode;

    for (unsigned p = 0; p < w->n; p++) {
        if (!(states >> p & 1))
            continue;
        if (is_stars(w->parts[p]))
            through |= name->text[0] != '.';
        else if (fnmatch(w->parts[p], name->text, FNM_PERIOD) != 0)
            continue;
        else if (p + 1 == w->n)
            last = true;
        else
            below |= UINT64_C(1) << (p + 1);
    }
    if (!through && !last && !below)
        return;
    len = append(w, len, name->text);
    if (!len || !look(w, name->type, &is_link, &mode))
        return;
    for (unsigned p = 0; through && !is_link && p < w->n; p++) {
        if ((states >> p & 1) && is_stars(w->parts[p]))
            below |= UINT64_C(1) << p;
    }
    if (last && is_image_like(mode))
        add_file(w);
    if (below && S_ISDIR(mode) && !(w->glob->skip && w->glob->skip(w->glob->arg, w->path)))
        visit(w, len, below);
}

typedef QB_VEC(struct name) names_vec;

static void free_names(names_vec *names)
{
    qb_vec_each (n, names)
        free(n->text);
    qb_vec_free(names);
}

/* The whole listing is read before any of it is followed, so that a deep tree needs one open
 * folder. */
static void list(struct walk *w, names_vec *names)
{
    DIR *dir = opendir(w->path[0] ? w->path : ".");
    struct dirent *e;

    if (!dir) {
        if (errno != ENOENT)
            pass_by(w, errno);
        return;
    }
    while (errno = 0, (e = readdir(dir))) {
        struct name name;

        if (is_stopped(w)) {
            errno = 0; /* that was said */
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        name = (struct name){strdup(e->d_name), e->d_type};
        if (!name.text || !qb_vec_push(names, name)) {
            free(name.text);
            errno = ENOMEM;
            break;
        }
    }
    if (errno)
        pass_by(w, errno);
    closedir(dir);
}

static void visit(struct walk *w, size_t len, uint64_t states)
{
    QB_AUTO(free_names) names_vec names = {0};

    if (is_stopped(w))
        return;
    w->path[len] = '\0';
    for (unsigned p = 0; p + 1 < w->n; p++) { /* `**` may stand for no folder at all */
        if ((states >> p & 1) && is_stars(w->parts[p]))
            states |= UINT64_C(1) << (p + 1);
    }
    if ((states & (states - 1)) == 0) {
        unsigned part = (unsigned)__builtin_ctzll(states);

        if (!w->parts[part][strcspn(w->parts[part], "*?[\\")]) {
            visit_literal(w, len, part);
            return;
        }
    }
    list(w, &names);
    w->depth++;
    for (struct name *name = names.items; name && name < names.items + names.n && !is_stopped(w);
         name++)
        visit_name(w, len, states, name);
    w->depth--;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int qb_glob_expand(struct qb_glob *glob, const char *pattern)
{
    QB_AUTO(qb_buf) struct walk *w = calloc(1, sizeof(*w));
    QB_AUTO(qb_buf) char *text = NULL;
    size_t before = glob->paths.n, len;

    if (!w)
        return qb_diag_memory(glob->diags);
    w->glob = glob;
    if (cut(w, pattern) < 0) {
        free(w->text);
        return -1;
    }
    text = w->text;
    len = append(w, 0, pattern[0] == '/' ? "/" : glob->folder);
    if (w->n > 0 && !w->failed)
        visit(w, len, 1);
    if (glob->paths.n > before)
        qsort(glob->paths.items + before, glob->paths.n - before, sizeof(char *), by_text);
    return w->failed ? -1 : 0;
}

void qb_glob_free(struct qb_glob *glob)
{
    qb_vec_each (path, &glob->paths)
        free(*path);
    qb_vec_free(&glob->paths);
}
