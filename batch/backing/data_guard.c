#include "backing/data_guard.h"

#include <string.h>
#include <sys/stat.h>

#include "plan/data_file.h"
#include "base/own.h"
#include "base/sizing.h"
#include "backing/tree.h"
#include "chain/backing_name.h"
#include "outcome/outcome.h"
#include "chain/chain.h"
#include "chain/data_name.h"
#include "util/path.h"
#include "opener/look.h"

/* A member has, or is to have, its data in this file; or is to have it as its backing file, which
 * nobody minds unless the file gets another format. */
struct use {
    dev_t dev;
    ino_t ino;
    size_t member;
    bool backs;
};

/* A name that leads to no file that is known; it may be any of that name. */
struct stray {
    const char *name; /* of the batch or the family */
    size_t member;
};

struct qb_data_guard {
    const struct qb_batch *batch;
    struct qb_sched *sched;
    bool (*stopped)(void);
    bool read; /* what follows is filled in */
    struct qb_family family;
    QB_VEC(struct use) uses;
    struct qb_index by_file; /* of uses */
    QB_VEC(struct stray) strays;
};

struct qb_data_guard *qb_data_guard_new(const struct qb_batch *batch, struct qb_sched *sched,
                                        bool (*stopped)(void))
{
    struct qb_data_guard *g = calloc(1, sizeof(*g));

    if (g) {
        g->batch = batch;
        g->sched = sched;
        g->stopped = stopped;
    }
    return g;
}

static void forget(struct qb_data_guard *g)
{
    qb_family_free(&g->family);
    qb_vec_free(&g->uses);
    qb_index_free(&g->by_file);
    qb_vec_free(&g->strays);
}

void qb_data_guard_free(struct qb_data_guard *g)
{
    if (!g)
        return;
    forget(g);
    free(g);
}

/* ---- who has its data where ------------------------------------------------------------------ */

static const struct qb_opener *opener_of(const struct qb_data_guard *g)
{
    return qb_io_opener(qb_sched_io(g->sched));
}

static bool find_file(const struct qb_data_guard *g, const char *image_path, const char *name,
                      struct stat *st)
{
    QB_AUTO(qb_buf) char *path = NULL;

    return qb_data_locate(opener_of(g), image_path, name, &path, NULL) == 0 &&
           qb_look(opener_of(g), path, st) == 0;
}

static int note_use(struct qb_data_guard *g, const struct stat *st, size_t member, bool backs)
{
    if (!qb_index_room(&g->by_file, 1) ||
        !qb_vec_push(&g->uses, (struct use){st->st_dev, st->st_ino, member, backs}))
        return -1;
    qb_index_add(&g->by_file, qb_key_of_file(st->st_dev, st->st_ino), g->uses.n - 1);
    return 0;
}

static int add_use(struct qb_data_guard *g, const char *image_path, const char *name, size_t member)
{
    struct stat st;

    if (!find_file(g, image_path, name, &st))
        return qb_vec_push(&g->strays, (struct stray){name, member}) ? 0 : -1;
    return note_use(g, &st, member, false);
}

/* A backing name that the batch is going to write. */
static int add_new_backing(struct qb_data_guard *g, const struct qb_job *job, size_t member)
{
    const char *name = job->request.backing_file;
    QB_AUTO(qb_buf) char *path = NULL;
    struct stat st;

    if (!(job->request.set & QB_KEY_BACKING_FILE) || !name || !name[0])
        return 0;
    if (qb_chain_resolve(job->path, name, &path, NULL) < 0 || qb_look(opener_of(g), path, &st) < 0)
        return qb_vec_push(&g->strays, (struct stray){name, member}) ? 0 : -1;
    return note_use(g, &st, member, true);
}

/* A name in a header is relative to the path by which the image is opened. */
static int add_member(struct qb_data_guard *g, size_t i)
{
    const struct qb_member *m = &g->family.members.items[i];
    const struct qb_job *job = m->asked;

    if (m->backing_name && m->base == QB_NO_MEMBER &&
        !qb_vec_push(&g->strays, (struct stray){m->backing_name, i}))
        return -1;
    if (job && add_new_backing(g, job, i) < 0)
        return -1;
    if (!m->data_name)
        return 0;
    if (add_use(g, m->path, m->data_name, i) < 0 ||
        (m->other_path && add_use(g, m->other_path, m->data_name, i) < 0))
        return -1;
    if (!job || !(job->request.set & QB_KEY_DATA_FILE) || !job->request.data_file)
        return 0;
    return add_use(g, job->path, job->request.data_file, i);
}

static int read_all(struct qb_data_guard *g, struct qb_err *err)
{
    if (g->read)
        return 0;
    if (qb_family_read(g->batch, g->sched, g->stopped, &g->family, err) < 0) {
        forget(g);
        return -1;
    }
    for (size_t i = 0; i < g->family.members.n; i++) {
        if (add_member(g, i) < 0) {
            forget(g);
            return qb_fail_memory(err);
        }
    }
    g->read = true;
    return 0;
}

void qb_data_guard_read(struct qb_data_guard *g)
{
    struct qb_err err;

    read_all(g, &err);
}

/* ---- one image ------------------------------------------------------------------------------- */

static bool resizes(const struct qb_request *rq, const struct qb_info *now)
{
    uint64_t size;

    return !qb_sizing_of(rq, now->virtual_size, &size) || size != now->virtual_size;
}

/* The data file's name once it is amended; NULL where the amend does nothing that others see. */
static const char *name_at_stake(const struct qb_request *rq, const struct qb_info *now)
{
    const char *name = now->data_file;
    bool other = false;

    if (!now->external_data_file)
        return NULL;
    if (rq->set & QB_KEY_DATA_FILE) {
        other = !name || !rq->data_file || strcmp(name, rq->data_file) != 0;
        name = rq->data_file;
    }
    if (other || resizes(rq, now) ||
        ((rq->set & QB_KEY_DATA_FILE_RAW) && rq->data_file_raw && !now->data_file_raw))
        return name;
    return NULL;
}

static int refuse(const struct qb_data_guard *g, const char *name, const char *what, size_t member,
                  struct qb_err *err)
{
    return qb_fail(
        err, QB_E_REFUSED, QB_NOWHERE,
        "the external data file %.150s %s %.150s, too; give this image a copy of its own "
        "with data_file",
        name, what, g->family.members.items[member].path);
}

static int check_uses(const struct qb_data_guard *g, const struct stat *st, size_t self,
                      const char *name, struct qb_err *err)
{
    struct qb_probe p = qb_index_probe(&g->by_file, qb_key_of_file(st->st_dev, st->st_ino));

    while (qb_index_next(&g->by_file, &p)) {
        const struct use *u = &g->uses.items[p.item];

        if (u->member != self && !u->backs && u->dev == st->st_dev && u->ino == st->st_ino)
            return refuse(g, name, "is that of", u->member, err);
    }
    return 0;
}

/* Where it is a file of the family itself. */
static int check_member(const struct qb_data_guard *g, const struct stat *st, size_t self,
                        const char *name, struct qb_err *err)
{
    size_t at = qb_family_find(&g->family, st->st_dev, st->st_ino);

    if (at == QB_NO_MEMBER || at == self) /* the plan refuses the image itself */
        return 0;
    for (size_t i = g->family.members.items[at].first_overlay; i != QB_NO_MEMBER;
         i = g->family.members.items[i].next)
        if (i != self)
            return refuse(g, name, "is the backing file of", i, err);
    if (g->family.members.items[at].kind == QB_MEMBER_QCOW2)
        return refuse(g, name, "is the image", at, err);
    return 0;
}

static int check_strays(const struct qb_data_guard *g, size_t self, const char *name,
                        struct qb_err *err)
{
    for (size_t i = 0; i < g->strays.n; i++) {
        const struct stray *s = &g->strays.items[i];

        if (s->member != self && qb_backing_may_name(s->name, qb_path_name(name)))
            return refuse(g, name, "seems to be used by", s->member, err);
    }
    return 0;
}

/* ---- a raw disk that becomes an image -------------------------------------------------------- */

static int refuse_convert(const struct qb_data_guard *g, const char *what, size_t member,
                          struct qb_err *err)
{
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "convert: %.200s %s, and would read the image's metadata as data",
                   g->family.members.items[member].path, what);
}

static int check_raw(const struct qb_data_guard *g, const struct qb_file *image, struct qb_err *err)
{
    struct qb_probe p = qb_index_probe(&g->by_file, qb_key_of_file(image->dev, image->ino));
    size_t self = qb_family_find(&g->family, image->dev, image->ino);

    while (qb_index_next(&g->by_file, &p)) {
        const struct use *u = &g->uses.items[p.item];

        if (u->dev == image->dev && u->ino == image->ino)
            return refuse_convert(g,
                                  u->backs ? "is to have it as its backing file"
                                           : "has it as its external data file",
                                  u->member, err);
    }
    if (self != QB_NO_MEMBER && g->family.members.items[self].first_overlay != QB_NO_MEMBER)
        return refuse_convert(g, "has it as its backing file",
                              g->family.members.items[self].first_overlay, err);
    for (size_t i = 0; i < g->strays.n; i++)
        if (g->strays.items[i].member != self &&
            qb_backing_may_name(g->strays.items[i].name, qb_path_name(image->path)))
            return refuse_convert(g, "seems to use it", g->strays.items[i].member, err);
    if (g->family.unknown.n)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "convert: an image that uses the raw disk may not have been found: %.300s",
                       g->family.unknown.items[0]);
    return 0;
}

int qb_data_guard_check(struct qb_data_guard *g, const struct qb_file *image,
                        const struct qb_request *rq, const struct qb_info *now, struct qb_err *err)
{
    const char *name = name_at_stake(rq, now);
    bool alone = g->batch->n_jobs + g->batch->n_others < 2 && g->batch->scan.n == 0;
    struct stat st;
    size_t self;

    if (qb_is_raw(now) && !alone)
        return read_all(g, err) < 0 ? -1 : check_raw(g, image, err);
    if (!name || (alone && !now->has_backing_file))
        return 0;
    if (!find_file(g, image->path, name, &st)) /* the plan says what is wrong with it */
        return 0;
    if (read_all(g, err) < 0)
        return -1;
    self = qb_family_find(&g->family, image->dev, image->ino);
    if (check_uses(g, &st, self, name, err) < 0 || check_member(g, &st, self, name, err) < 0 ||
        check_strays(g, self, name, err) < 0)
        return -1;
    if (g->family.unknown.n)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "another image that uses the external data file %.150s may not have been "
                       "found: %.200s",
                       name, g->family.unknown.items[0]);
    return 0;
}
