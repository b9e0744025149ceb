#include "backing/shrink_guard.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "plan/data_file.h"
#include "base/own.h"
#include "base/sizing.h"
#include "base/units.h"
#include "opener/look.h"
#include "opener/named.h"
#include "backing/tree.h"
#include "chain/backing_name.h"
#include "util/path.h"
#include "chain/data_name.h"

enum { NAMED = 3 }; /* overlays that a refusal names */

struct qb_overlays {
    struct qb_family family;
    size_t *members; /* of each job; QB_NO_MEMBER: none */
    struct qb_sched *sched;
    QB_VEC(size_t) dark;   /* members that may be overlays of any other; one an owner */
    QB_VEC(size_t) strays; /* members whose backing name was not followed */
};

void qb_overlays_free(struct qb_overlays *o)
{
    if (!o)
        return;
    qb_family_free(&o->family);
    qb_vec_free(&o->dark);
    qb_vec_free(&o->strays);
    free(o->members);
    free(o);
}

static bool could_shrink(const struct qb_job *job)
{
    const struct qb_request *rq = &job->request;

    return !job->already && rq->allow_shrink && qb_sizing_may_shrink(rq);
}

static bool any_could_shrink(const struct qb_batch *batch)
{
    if (batch->n_jobs + batch->n_others < 2 && batch->scan.n == 0)
        return false;
    for (size_t i = 0; i < batch->n_jobs; i++)
        if (could_shrink(&batch->jobs[i]))
            return true;
    return false;
}

/* What is not opened because an image's owner may not have it is that image's word alone: it must
 * not keep others from what they are to become. */
static int note_dark(struct qb_overlays *o, size_t member)
{
    const struct qb_member *all = o->family.members.items, *m = &all[member];

    if (!m->dark || qb_named_refused(m->code))
        return 0;
    qb_vec_each (i, &o->dark)
        if (all[*i].uid == m->uid && all[*i].gid == m->gid)
            return 0;
    return qb_vec_push(&o->dark, member) ? 0 : -1;
}

static int index_jobs(struct qb_overlays *o, size_t n_jobs)
{
    o->members = malloc((n_jobs + 1) * sizeof(o->members[0]));
    if (!o->members)
        return -1;
    for (size_t i = 0; i < n_jobs; i++)
        o->members[i] = QB_NO_MEMBER;
    for (size_t i = 0; i < o->family.members.n; i++) {
        const struct qb_member *m = &o->family.members.items[i];

        if (m->job != QB_NO_JOB)
            o->members[m->job] = i;
        if (note_dark(o, i) < 0)
            return -1;
        if (m->backing_name && m->base == QB_NO_MEMBER && !qb_vec_push(&o->strays, i))
            return -1;
    }
    return 0;
}

int qb_overlays_find(const struct qb_batch *batch, struct qb_sched *sched, bool (*stopped)(void),
                     struct qb_overlays **out, struct qb_err *err)
{
    struct qb_overlays *o;

    *out = NULL;
    if (!any_could_shrink(batch))
        return 0;
    o = calloc(1, sizeof(*o));
    if (!o)
        return qb_fail_memory(err);
    o->sched = sched;
    if (qb_family_read(batch, sched, stopped, &o->family, err) < 0) {
        qb_overlays_free(o);
        return -1;
    }
    if (index_jobs(o, batch->n_jobs) < 0) {
        qb_overlays_free(o);
        return qb_fail_memory(err);
    }
    *out = o;
    return 0;
}

static int refuse(const struct qb_family *f, const struct qb_member *base, uint64_t from,
                  uint64_t to, struct qb_err *err)
{
    char names[240] = "", more[40] = "", a[QB_TEXT_NUMBER], b[QB_TEXT_NUMBER];
    size_t named = 0, len = 0;

    for (size_t i = base->first_overlay; i != QB_NO_MEMBER && named < NAMED;
         i = f->members.items[i].next, named++) {
        int n = snprintf(names + len, sizeof(names) - len, "%s%s", named ? ", " : "",
                         f->members.items[i].path);

        if (n < 0 || (size_t)n >= sizeof(names) - len) {
            names[len] = '\0';
            break;
        }
        len += (size_t)n;
    }
    if (base->n_overlays > named)
        snprintf(more, sizeof(more), named ? " and %zu more" : "%zu", base->n_overlays - named);
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "shrinking from %s to %s would change what its overlays read: %s%s",
                   qb_text_size_exact(from, a), qb_text_size_exact(to, b), names, more);
}

/* A name that is not local, like nbd://... or json:{...} with options, may lead to any file; one
 * that has this file's name inside is assumed to.  `base`: its own member, or NULL. */
static const struct qb_member *find_stray(const struct qb_overlays *o, const struct qb_member *base,
                                          const char *path)
{
    for (size_t i = 0; i < o->strays.n; i++) {
        const struct qb_member *m = &o->family.members.items[o->strays.items[i]];

        if (m != base && qb_backing_may_name(m->backing_name, qb_path_name(path)))
            return m;
    }
    return NULL;
}

/* A file of which nothing is known may be an overlay of each image that its owner could read. */
static int check_dark(const struct qb_overlays *o, const struct qb_member *base, struct qb_err *err)
{
    const struct qb_file file = {.fd = -1, .dev = base->dev, .ino = base->ino};

    qb_vec_each (i, &o->dark) {
        const struct qb_member *m = &o->family.members.items[*i];
        struct qb_naming by = {m->uid, m->gid, m->path};

        if (!qb_named_could_read(qb_sched_io(o->sched), by, base->path, &file))
            continue;
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "refusing to shrink: %.120s may use this image as its backing file and "
                       "cannot be read%s: %.130s",
                       m->path, m->asked ? " (an `exclude` leaves it out)" : "",
                       m->why ? m->why : "");
    }
    return 0;
}

/* An overlay whose base could not be resolved is assumed to use this image. */
static int check_unknown(const struct qb_overlays *o, const struct qb_member *base,
                         struct qb_err *err)
{
    const struct qb_family *f = &o->family;
    const struct qb_member *stray = find_stray(o, base, base->path);

    if (f->unknown.n)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "refusing to shrink: an overlay may not have been found: %.300s",
                       f->unknown.items[0]);
    if (stray)
        return qb_fail(
            err, QB_E_REFUSED, QB_NOWHERE,
            "refusing to shrink: %.150s seems to use this image as its backing file: %.150s",
            stray->path, stray->backing_name);
    return check_dark(o, base, err);
}

/* The file that a shrink cuts beside the image: overlays may read it as a raw backing file. */
static int check_data_file(const struct qb_overlays *o, const struct qb_job *job,
                           const struct qb_info *now, struct qb_err *err)
{
    const struct qb_request *rq = &job->request;
    const char *name = rq->set & QB_KEY_DATA_FILE ? rq->data_file : now->data_file;
    QB_AUTO(qb_buf) char *path = NULL;
    const struct qb_member *stray;
    const struct qb_opener *by = qb_io_opener(qb_sched_io(o->sched));
    struct stat st;
    size_t m;

    /* the plan says what is wrong with it */
    if (!now->external_data_file || !name || qb_data_locate(by, job->path, name, &path, NULL) < 0 ||
        qb_look(by, path, &st) < 0)
        return 0;
    m = qb_family_find(&o->family, st.st_dev, st.st_ino);
    if (m != QB_NO_MEMBER && o->family.members.items[m].first_overlay != QB_NO_MEMBER)
        return refuse(&o->family, &o->family.members.items[m], now->virtual_size, rq->size, err);
    stray = find_stray(o, NULL, path);
    if (!stray)
        return 0;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "refusing to shrink: %.150s seems to use the external data file as its backing "
                   "file: %.150s",
                   stray->path, stray->backing_name);
}

int qb_overlays_check(const struct qb_overlays *o, const struct qb_batch *batch, size_t job,
                      const struct qb_info *now, struct qb_err *err)
{
    const struct qb_family *f = o ? &o->family : NULL;
    uint64_t size = batch->jobs[job].request.size;
    const struct qb_member *m;

    if (!o || !could_shrink(&batch->jobs[job]) || size >= now->virtual_size)
        return 0;
    if (o->members[job] ==
        QB_NO_MEMBER) /* the file was not there, or another one, before the run */
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "refusing to shrink: could not determine which overlays use this image");
    m = &f->members.items[o->members[job]];
    if (m->first_overlay != QB_NO_MEMBER)
        return refuse(f, m, now->virtual_size, size, err);
    if (check_unknown(o, m, err) < 0)
        return -1;
    return check_data_file(o, &batch->jobs[job], now, err);
}
