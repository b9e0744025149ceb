#include "job/backing_rewrite.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/own.h"
#include "base/vec.h"
#include "util/path.h"
#include "util/pattern.h"
#include "chain/backing_name.h"
#include "chain/chain.h"
#include "base/crc32.h"
#include "qcow2/disk.h"
#include "chain/probe.h"
#include "opener/look.h"

enum { GROUPS = 10 };

struct rewrite {
    regex_t from;
    char *from_text, *to;
};

struct qb_moves {
    QB_VEC(struct rewrite) rewrites;
    bool relative, fmt_auto, check_content;
};

struct qb_moves *qb_moves_new(void)
{
    return calloc(1, sizeof(struct qb_moves));
}

void qb_moves_free(struct qb_moves *m)
{
    if (!m)
        return;
    qb_vec_each (r, &m->rewrites) {
        regfree(&r->from);
        free(r->from_text);
        free(r->to);
    }
    qb_vec_free(&m->rewrites);
    free(m);
}

void qb_moves_relative(struct qb_moves *m, bool on)
{
    m->relative = on;
}

void qb_moves_fmt_auto(struct qb_moves *m, bool on)
{
    m->fmt_auto = on;
}

void qb_moves_check_content(struct qb_moves *m, bool on)
{
    m->check_content = on;
}

bool qb_moves_checks_content(const struct qb_moves *m)
{
    return m->check_content;
}

bool qb_moves_has_fmt_auto(const struct qb_moves *m)
{
    return m->fmt_auto;
}

uint32_t qb_moves_print(const struct qb_moves *m, uint32_t sum)
{
    const uint8_t flags[] = {m->relative, m->fmt_auto, m->check_content};

    for (size_t i = 0; i < m->rewrites.n; i++) {
        const struct rewrite *r = &m->rewrites.items[i];

        sum = qb_crc32(sum, r->from_text, strlen(r->from_text) + 1);
        sum = qb_crc32(sum, r->to, strlen(r->to) + 1);
    }
    return qb_crc32(sum, flags, sizeof(flags));
}

/* ---- reading --------------------------------------------------------------------------------- */

/* A backslash in `to` must be followed by the number of an existing group, or by a backslash. */
static bool check_to(const char *to, size_t groups, struct qb_why *why)
{
    if (!*to)
        return qb_why_not(why, NULL, "would leave an image without the name of its backing file");
    for (; *to; to++) {
        if (*to != '\\')
            continue;
        to++;
        if (*to >= '0' && *to <= '9' && (size_t)(*to - '0') > groups)
            return qb_why_not(why, NULL, "has \\%c, and \"from\" has %zu group%s", *to, groups,
                              groups == 1 ? "" : "s");
        if (*to != '\\' && (*to < '0' || *to > '9'))
            return qb_why_not(why, NULL, "has a backslash before neither a digit nor a backslash");
    }
    return true;
}

static bool compile(struct rewrite *r, const char *from, struct qb_why *why)
{
    char text[120];
    int rc;

    if (!qb_pattern_check(from, why))
        return false;
    rc = regcomp(&r->from, from, REG_EXTENDED);
    if (rc == 0)
        return true;
    regerror(rc, &r->from, text, sizeof(text));
    return qb_why_not(why, NULL, "is no POSIX extended regular expression: %s", text);
}

bool qb_moves_add(struct qb_moves *m, const char *from, const char *to, struct qb_why *why)
{
    struct rewrite r = {.from_text = NULL};
    bool ok;

    if (!compile(&r, from, why))
        return false;
    ok = check_to(to, r.from.re_nsub, why);
    r.from_text = strdup(from);
    r.to = strdup(to);
    if (ok && (!r.from_text || !r.to || !qb_vec_push(&m->rewrites, r)))
        ok = qb_why_not(why, NULL, "finds no memory");
    if (!ok) {
        regfree(&r.from);
        free(r.from_text);
        free(r.to);
    }
    return ok;
}

/* ---- one image ------------------------------------------------------------------------------- */

/* The name with the match replaced by `to`, whose groups are filled in. */
static char *fill_in(const char *name, const char *to, const regmatch_t *groups)
{
    char *out = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&out, &len);

    if (!f)
        return NULL;
    fwrite(name, 1, (size_t)groups[0].rm_so, f);
    for (; *to; to++) {
        const regmatch_t *g;

        if (*to != '\\' || *++to == '\\') {
            fputc(*to, f);
            continue;
        }
        g = &groups[*to - '0'];
        if (g->rm_so >= 0)
            fwrite(name + g->rm_so, 1, (size_t)(g->rm_eo - g->rm_so), f);
    }
    fputs(name + groups[0].rm_eo, f);
    if (fclose(f) == 0)
        return out;
    free(out);
    return NULL;
}

static char *rewritten(const struct qb_moves *m, const char *name)
{
    for (size_t i = 0; i < m->rewrites.n; i++) {
        regmatch_t groups[GROUPS];

        if (regexec(&m->rewrites.items[i].from, name, GROUPS, groups, 0) == 0)
            return fill_in(name, m->rewrites.items[i].to, groups);
    }
    return strdup(name);
}

/* The length of the common directory: the byte after the last slash that both paths share. */
static size_t common(const char *folder, const char *target)
{
    size_t n = 0, last = 0;

    for (; folder[n] && folder[n] == target[n]; n++)
        if (folder[n] == '/')
            last = n + 1;
    return last;
}

char *qb_relative_name(const struct qb_opener *by, const char *path, const char *target)
{
    QB_AUTO(qb_buf) char *real = qb_look_real_folder(by, path);
    QB_AUTO(qb_buf) char *folder = NULL;
    char *out = NULL;
    size_t len = 0, same;
    FILE *f;

    if (target[0] != '/')
        return strdup(target);
    if (!real || asprintf(&folder, "%s%s", real, real[1] ? "/" : "") < 0)
        return NULL;
    f = open_memstream(&out, &len);
    if (!f)
        return NULL;
    same = common(folder, target);
    for (const char *rest = folder + same; *rest; rest++)
        if (*rest == '/')
            fputs("../", f);
    fputs(target + same, f);
    if (fclose(f) == 0)
        return out;
    free(out);
    return NULL;
}

static int new_name(const struct qb_moves *m, const struct qb_opener *by, const char *path,
                    const char *old, char **out, struct qb_err *err)
{
    char *name = rewritten(m, old);

    if (name && m->relative) {
        char *relative = qb_relative_name(by, path, name);

        free(name);
        name = relative;
    }
    *out = name;
    if (!name)
        return qb_fail_memory(err);
    if (!*name || strlen(name) > QB_MAX_BACKING_NAME)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "the backing file's new name is %s: %.100s",
                       *name ? "too long" : "empty", name);
    return 0;
}

static int find_fmt(struct qb_io *io, const struct qb_file *image, const char *path,
                    const char *name, struct qb_request *rq, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *target = NULL;
    char why[sizeof(err->text)];
    const char *declared;

    if (qb_backing_locate(path, name, "", &target, &declared, err) < 0)
        return -1;
    if (declared[0]) { /* by the name itself */
        rq->backing_fmt = declared;
        rq->set |= QB_KEY_BACKING_FMT;
        return 0;
    }
    if (qb_probe_format(io, image, target, &rq->backing_fmt, err) < 0) {
        memcpy(why, err->text, sizeof(why));
        return qb_fail(err, err->code == QB_E_NOT_FOUND ? QB_E_BACKING_MISSING : err->code,
                       err->offset, "the backing file %.200s: %.200s", target, why);
    }
    rq->set |= QB_KEY_BACKING_FMT;
    return 0;
}

/* Whether a relative name leads from the folder of `path` to the file that `st` is of. */
static bool leads_to(const struct qb_opener *by, const char *path, const char *name,
                     const struct stat *st)
{
    QB_AUTO(qb_buf) char *target = NULL;
    struct stat found;
    struct qb_err err;

    return qb_chain_resolve(path, name, &target, &err) == 0 && qb_look(by, target, &found) == 0 &&
           found.st_dev == st->st_dev && found.st_ino == st->st_ino;
}

/* QEMU resolves a relative backing file in the directory of the name by which the image was opened:
 * for an image behind a symbolic link, the name has to be right in both directories. */
static int check_link(const struct qb_opener *by, const char *path, const char *name,
                      struct qb_err *err)
{
    QB_AUTO(qb_buf) char *real = NULL, *target = NULL;
    struct stat st;

    if (name[0] == '/' || !qb_look_is_link(by, path))
        return 0;
    real = qb_look_real(by, path);
    if (real && qb_chain_resolve(path, name, &target, err) == 0 && qb_look(by, target, &st) == 0 &&
        leads_to(by, real, name, &st))
        return 0;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "the image is a symbolic link to %.200s, and the relative name %.100s does not "
                   "lead to the same backing file from both directories; name the file itself",
                   real ? real : path, name);
}

int qb_moves_rename(const struct qb_moves *m, const struct qb_opener *by, const char *path,
                    const struct qb_info *info, struct qb_request *rq, char **name,
                    struct qb_err *err)
{
    *name = NULL;
    if (!info->has_backing_file)
        return 0;
    if (new_name(m, by, path, info->backing_file, name, err) < 0)
        return -1;
    if (strcmp(*name, info->backing_file) != 0) {
        if (m->relative && check_link(by, path, *name, err) < 0)
            return -1;
        rq->set |= QB_KEY_BACKING_FILE;
        rq->backing_file = *name;
    }
    return 0;
}

int qb_moves_apply(const struct qb_moves *m, struct qb_io *io, const struct qb_file *image,
                   const char *path, const struct qb_info *info, struct qb_request *rq, char **name,
                   struct qb_err *err)
{
    if (qb_moves_rename(m, io ? qb_io_opener(io) : NULL, path, info, rq, name, err) < 0)
        return -1;
    if (!*name || !m->fmt_auto || (info->backing_fmt && info->backing_fmt[0]))
        return 0;
    return find_fmt(io, image, path, *name, rq, err);
}
