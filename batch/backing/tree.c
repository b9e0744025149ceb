#include "backing/tree.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "backing/deadly.h"
#include "backing/order.h"
#include "backing/tree_see.h"
#include "opener/in_use.h"
#include "opener/look.h"
#include "opener/named.h"
#include "image/image.h"
#include "util/path.h"

/* The family is read in rounds: first the jobs and the scanned files, then their backing files, and
 * so on.  In a round every path is examined once, in parallel; then new files are added, in the
 * order of the paths. */

enum { MORE_LOOKERS = 32 }; /* threads, where headers must be waited for */

/* A path to be looked at, and what was seen there. */
struct look {
    char *path; /* moves into the member */
    size_t job;
    const struct qb_job *asked;
    bool scanned, seen_alone;
    size_t first, end; /* of the round's wants, which name it; none: nobody but the user does */
    struct qb_member seen;
};

/* What a member's header names. */
struct want {
    char *path;
    size_t overlay;
};

typedef QB_VEC(struct want) wants_vec;

struct reading {
    struct qb_family *family;
    struct qb_deadly *deadly;
    const struct qb_opener *opener; /* see opener/look.h */
    bool alone;                     /* one header is read at a time */
    QB_VEC(struct look) looks;
    wants_vec wants, next; /* of this round, and of the one that comes */
};

static void free_member(struct qb_member *m)
{
    free(m->path);
    free(m->other_path);
    free(m->why);
    free(m->backing_name);
    free(m->data_name);
}

void qb_family_free(struct qb_family *f)
{
    qb_vec_each (m, &f->members)
        free_member(m);
    qb_vec_free(&f->members);
    qb_index_free(&f->by_file);
    qb_paths_free(&f->unknown);
    *f = (struct qb_family){0};
}

static void clear_looks(struct reading *r)
{
    qb_vec_each (l, &r->looks) {
        free(l->path);
        free_member(&l->seen);
    }
    r->looks.n = 0;
}

static void clear_wants(wants_vec *wants)
{
    qb_vec_each (w, wants)
        free(w->path);
    wants->n = 0;
}

static void free_reading(struct reading *r)
{
    clear_looks(r);
    clear_wants(&r->wants);
    clear_wants(&r->next);
    qb_vec_free(&r->looks);
    qb_vec_free(&r->wants);
    qb_vec_free(&r->next);
}

/* ---- one file -------------------------------------------------------------------------------- */

static bool takes_for_qcow2(const struct qb_member *overlay)
{
    return !overlay->backing_fmt[0] || strcmp(overlay->backing_fmt, "qcow2") == 0;
}

/* Opens what the user names, or what an overlay names whose owner could read it: 0; -1 with *err;
 * 1 where all overlays declare it to be no qcow2 image. */
static int open_look(const struct reading *r, const struct look *l, struct qb_io *io,
                     struct qb_file *file, struct qb_err *err)
{
    int result = 1;

    if (l->first == l->end)
        return qb_image_file_open(io, l->path, file, err);
    for (size_t i = l->first; i < l->end; i++) {
        const struct qb_member *m = &r->family->members.items[r->wants.items[i].overlay];
        struct qb_naming by = {m->uid, m->gid, m->path};

        if (!takes_for_qcow2(m))
            continue;
        result = qb_named_open(io, by, by, l->path, file, err);
        if (result == 0 || !qb_named_refused(err->code))
            break;
    }
    return result;
}

static void look_once(const struct reading *r, struct look *l, struct qb_io *io)
{
    struct qb_member *m = &l->seen;
    struct qb_file file;
    struct qb_err err;
    struct stat st = {0};
    int opened;

    *m = (struct qb_member){.base = QB_NO_MEMBER,
                            .first_overlay = QB_NO_MEMBER,
                            .next = QB_NO_MEMBER,
                            .after = QB_NO_MEMBER};
    if (qb_look(qb_io_opener(io), l->path, &st) == 0) {
        m->dev = st.st_dev;
        m->ino = st.st_ino;
        m->uid = st.st_uid;
        m->gid = st.st_gid;
        m->links = (unsigned)st.st_nlink;
    } else if (errno == ENOENT || errno == ENOTDIR) {
        qb_fail_sys(&err, errno, QB_NOWHERE, "cannot open the file");
        qb_member_fail(m, &err);
        return;
    }
    if (S_ISDIR(st.st_mode)) {
        qb_fail(&err, QB_E_PERMISSION, QB_NOWHERE, "is a directory; what is in it is not known");
        qb_member_fail(m, &err);
        return;
    }
    opened = open_look(r, l, io, &file, &err);
    if (opened < 0) {
        qb_member_fail(m, &err);
    } else if (opened > 0) {
        m->kind = QB_MEMBER_OTHER;
        m->declared = true;
        m->virtual_size = (uint64_t)st.st_size;
    } else {
        qb_member_see(m, r->deadly, r->alone, io, &file);
        qb_file_close(&file);
    }
}

/* A header that cannot be read is in the way of others (see shrink_guard.h), so that a passing
 * failure is to cost none of them anything: it is tried twice. */
static void look_at(void *arg, struct qb_io *io, size_t i)
{
    struct reading *r = arg;
    struct look *l = &r->looks.items[i];

    if (l->seen_alone)
        return;
    look_once(r, l, io);
    if (l->seen.kind != QB_MEMBER_UNREADABLE || qb_named_refused(l->seen.code) ||
        l->seen.code == QB_E_CRASHED)
        return;
    free_member(&l->seen);
    look_once(r, l, io);
}

/* ---- each file once -------------------------------------------------------------------------- */

size_t qb_family_find(const struct qb_family *f, dev_t dev, ino_t ino)
{
    struct qb_probe p = qb_index_probe(&f->by_file, qb_key_of_file(dev, ino));

    while (ino && qb_index_next(&f->by_file, &p)) {
        const struct qb_member *have = &f->members.items[p.item];

        if (have->ino == ino && have->dev == dev)
            return p.item;
    }
    return QB_NO_MEMBER;
}

static bool same_folder(const struct qb_opener *by, const char *a, const char *b)
{
    QB_AUTO(qb_buf) char *p = qb_path_folder(a), *q = qb_path_folder(b);
    struct stat s, t;

    return p && q && qb_look(by, p, &s) == 0 && qb_look(by, q, &t) == 0 && s.st_dev == t.st_dev &&
           s.st_ino == t.st_ino;
}

/* `a/../b` and `b` are the same name: what counts is the entry of a folder. */
static void note_name(const struct reading *r, struct qb_member *m, const char *path)
{
    if (m->other_path || !m->ino || strcmp(m->path, path) == 0)
        return;
    if (strcmp(qb_path_name(m->path), qb_path_name(path)) != 0 ||
        !same_folder(r->opener, m->path, path))
        m->other_path = strdup(path);
}

static int want_base(struct reading *r, size_t i)
{
    const struct qb_member *m = &r->family->members.items[i];
    const char *as;
    char *path = m->backing_name ? qb_graph_resolve(m->path, m->backing_name, "", &as) : NULL;

    if (!path || qb_vec_push(&r->next, (struct want){path, i}))
        return 0;
    free(path);
    return -1;
}

/* A member that was not read, or not for those who named it so far, and now was. */
static int see_again(struct reading *r, size_t i, struct look *l)
{
    struct qb_member *m = &r->family->members.items[i], *seen = &l->seen;

    if (!(m->declared || qb_named_refused(m->code)) || seen->declared ||
        qb_named_refused(seen->code) || seen->kind == QB_MEMBER_MISSING)
        return 0;
    free(m->why);
    m->why = qb_take(&seen->why);
    m->code = seen->code;
    m->declared = false;
    m->kind = seen->kind;
    m->dark = seen->dark;
    m->version = seen->version;
    m->virtual_size = seen->virtual_size;
    m->backing_name = qb_take(&seen->backing_name);
    m->data_name = qb_take(&seen->data_name);
    memcpy(m->backing_fmt, seen->backing_fmt, sizeof(m->backing_fmt));
    return want_base(r, i);
}

/* The member that a look leads to, a new one if need be; *out is QB_NO_MEMBER for a scanned file
 * that is of no interest. */
static int join(struct reading *r, struct look *l, size_t *out)
{
    struct qb_family *f = r->family;

    *out = qb_family_find(f, l->seen.dev, l->seen.ino);
    if (*out != QB_NO_MEMBER) {
        note_name(r, &f->members.items[*out], l->path);
        return see_again(r, *out, l);
    }
    if (l->scanned && (l->seen.kind == QB_MEMBER_OTHER || l->seen.kind == QB_MEMBER_MISSING))
        return 0;
    l->seen.job = l->job;
    l->seen.asked = l->asked;
    l->seen.scanned = l->scanned;
    l->seen.path = qb_take(&l->path);
    if (!qb_vec_push(&f->members, l->seen)) {
        l->path = l->seen.path;
        l->seen.path = NULL;
        return -1;
    }
    l->seen = (struct qb_member){0}; /* it has moved */
    *out = f->members.n - 1;
    if (f->members.items[*out].ino)
        qb_index_add(&f->by_file,
                     qb_key_of_file(f->members.items[*out].dev, f->members.items[*out].ino), *out);
    return want_base(r, *out);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static int add_look(struct reading *r, struct look look)
{
    if (look.path && qb_vec_push(&r->looks, look))
        return 0;
    free(look.path);
    return -1;
}

/* Those of which a process may have died, before the others. */
static void look_at_suspects(struct reading *r, struct qb_io *io)
{
    struct stat st;

    r->alone = true;
    for (size_t i = 0; qb_deadly_has_suspects(r->deadly) && i < r->looks.n; i++) {
        struct look *l = &r->looks.items[i];

        if (qb_look(r->opener, l->path, &st) < 0 ||
            !qb_deadly_suspects(r->deadly, st.st_dev, st.st_ino))
            continue;
        look_at(r, io, i);
        l->seen_alone = true;
    }
    r->alone = false;
}

static int look_at_all(struct reading *r, struct qb_sched *sched)
{
    if (!qb_index_room(&r->family->by_file, r->looks.n))
        return -1;
    look_at_suspects(r, qb_sched_io(sched));
    qb_sched_each_waiting(sched, r->looks.n, MORE_LOOKERS, look_at, r);
    for (size_t i = 0; i < r->looks.n; i++)
        if (r->looks.items[i].seen.code == QB_E_MEMORY)
            return -1;
    return 0;
}

static int first_round(struct reading *r, const struct qb_batch *batch, struct qb_sched *sched,
                       bool (*stopped)(void))
{
    qb_paths found = {0};
    int rc = qb_scan_files(batch, qb_sched_io(sched), stopped, &found, &r->family->unknown);
    size_t member;

    for (size_t i = 0; rc == 0 && i < batch->n_jobs; i++)
        rc = add_look(
            r,
            (struct look){.path = strdup(batch->jobs[i].path), .job = i, .asked = &batch->jobs[i]});
    for (size_t i = 0; rc == 0 && i < batch->n_others; i++)
        rc = add_look(r, (struct look){.path = strdup(batch->others[i].path),
                                       .job = QB_NO_JOB,
                                       .asked = &batch->others[i],
                                       .scanned = true});
    for (size_t i = 0; rc == 0 && i < found.n; i++)
        rc = add_look(
            r, (struct look){.path = qb_take(&found.items[i]), .job = QB_NO_JOB, .scanned = true});
    qb_paths_free(&found);
    if (rc == 0)
        rc = look_at_all(r, sched);
    for (size_t i = 0; rc == 0 && i < r->looks.n; i++)
        rc = join(r, &r->looks.items[i], &member);
    clear_looks(r);
    return rc;
}

static int by_path(const void *a, const void *b)
{
    const struct want *x = a, *y = b;
    int order = strcmp(x->path, y->path);

    return order ? order : x->overlay < y->overlay ? -1 : 1;
}

static bool is_named_before(const wants_vec *wants, size_t i)
{
    return i > 0 && i < wants->n && strcmp(wants->items[i - 1].path, wants->items[i].path) == 0;
}

/* Many overlays share a file, and most of them name it alike: each name is examined once. */
static int next_round(struct reading *r, struct qb_sched *sched)
{
    wants_vec done = r->wants;
    size_t at = 0, member = QB_NO_MEMBER;
    int rc = 0;

    clear_wants(&done);
    r->wants = r->next;
    r->next = done;
    qsort(r->wants.items, r->wants.n, sizeof(r->wants.items[0]), by_path);
    for (size_t i = 0, end; rc == 0 && i < r->wants.n; i = end) {
        for (end = i + 1; is_named_before(&r->wants, end);)
            end++;
        rc = add_look(r, (struct look){.path = strdup(r->wants.items[i].path),
                                       .job = QB_NO_JOB,
                                       .first = i,
                                       .end = end});
    }
    if (rc == 0)
        rc = look_at_all(r, sched);
    for (size_t i = 0; rc == 0 && i < r->wants.n; i++) {
        if (!is_named_before(&r->wants, i))
            rc = join(r, &r->looks.items[at++], &member);
        if (rc == 0)
            r->family->members.items[r->wants.items[i].overlay].base = member;
    }
    clear_looks(r);
    return rc;
}

/* ---- all of it ------------------------------------------------------------------------------ */

int qb_family_read(const struct qb_batch *batch, struct qb_sched *sched, bool (*stopped)(void),
                   struct qb_family *out, struct qb_err *err)
{
    QB_AUTO(free_reading)
    struct reading r = {
        .family = out, .deadly = batch->deadly, .opener = qb_io_opener(qb_sched_io(sched))};
    int rc;

    *out = (struct qb_family){0};
    rc = first_round(&r, batch, sched, stopped);
    while (rc == 0 && r.next.n > 0)
        rc = next_round(&r, sched);
    if (rc < 0)
        return qb_fail_memory(err);
    qb_family_relate(out);
    return 0;
}
