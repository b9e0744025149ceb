#include "backing/order.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/index.h"
#include "base/num.h"
#include "base/own.h"
#include "base/vec.h"
#include "backing/deadly.h"
#include "backing/link_cache.h"
#include "chain/backing_name.h"
#include "opener/look.h"
#include "opener/named.h"
#include "chain/chain.h"

/* A path that was looked up; cached, since fleets have few backing files. */
struct looked {
    char *path;
    struct qb_file_id id;
    struct timespec changed; /* its ctime */
};

enum { LOOKED = 8 }; /* one for each depth of a chain, the first of which are the common ones */

struct qb_graph {
    const struct qb_batch *batch;
    const struct qb_queue *queue;
    struct qb_sched *sched;
    struct qb_file_id *ids; /* of each job's file; NULL until the first backing file is met */
    struct qb_index jobs_by_id;
    struct qb_link_cache links;
    struct looked looked[LOOKED];
};

struct qb_graph *qb_graph_new(const struct qb_batch *batch, const struct qb_queue *queue,
                              struct qb_sched *sched)
{
    struct qb_graph *g = calloc(1, sizeof(*g));

    if (g) {
        g->batch = batch;
        g->queue = queue;
        g->sched = sched;
    }
    return g;
}

void qb_graph_look_again(struct qb_graph *g)
{
    for (size_t i = 0; i < LOOKED; i++)
        free(qb_take(&g->looked[i].path));
    qb_link_cache_next_wave(&g->links);
}

void qb_graph_free(struct qb_graph *g)
{
    if (!g)
        return;
    qb_graph_look_again(g);
    qb_link_cache_free(&g->links);
    free(g->ids);
    qb_index_free(&g->jobs_by_id);
    free(g);
}

static struct looked look_at(const struct qb_opener *by, const char *path)
{
    struct stat st;

    if (qb_look(by, path, &st) < 0)
        return (struct looked){0};
    return (struct looked){.id = {st.st_dev, st.st_ino}, .changed = st.st_ctim};
}

/* The same, remembered for each depth until the next call. */
static const struct looked *look_up(struct qb_graph *g, const char *path, unsigned depth)
{
    struct looked *l = &g->looked[depth % LOOKED];

    if (!l->path || strcmp(l->path, path) != 0) {
        free(l->path);
        *l = look_at(qb_io_opener(qb_sched_io(g->sched)), path);
        l->path = strdup(path);
    }
    return l;
}

static bool same(struct qb_file_id a, struct qb_file_id b)
{
    return a.ino != 0 && a.ino == b.ino && a.dev == b.dev;
}

static void index_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_graph *g = arg;

    const struct qb_job *job = &g->batch->jobs[i];

    g->ids[i] = job->ino ? (struct qb_file_id){job->dev, job->ino}
                         : look_at(qb_io_opener(io), job->path).id;
}

static uint64_t key_of(struct qb_file_id id)
{
    return qb_key_of_file(id.dev, id.ino);
}

static int make_index(struct qb_graph *g)
{
    size_t n = g->batch->n_jobs;

    g->ids = calloc(n, sizeof(g->ids[0]));
    if (!g->ids || !qb_index_room(&g->jobs_by_id, n)) {
        free(qb_take(&g->ids)); /* for the next image to try again */
        return -1;
    }
    qb_sched_each(g->sched, n, index_one, g);
    for (size_t i = 0; i < n; i++)
        if (g->ids[i].ino)
            qb_index_add(&g->jobs_by_id, key_of(g->ids[i]), i);
    return 0;
}

static size_t job_of(const struct qb_graph *g, struct qb_file_id id)
{
    struct qb_probe p = qb_index_probe(&g->jobs_by_id, key_of(id));

    while (qb_index_next(&g->jobs_by_id, &p))
        if (same(g->ids[p.item], id))
            return p.item;
    return QB_NO_JOB;
}

char *qb_graph_resolve(const char *of, const char *name, const char *fmt, const char **as)
{
    char *path = NULL;

    if (!*name || qb_backing_locate(of, name, fmt ? fmt : "", &path, as, NULL) < 0)
        return NULL;
    return path;
}

/* Whether that failure says nothing about the file. */
static bool is_shortage(const struct qb_err *why)
{
    return why->code == QB_E_MEMORY || why->sys_errno == EMFILE || why->sys_errno == ENFILE;
}

/* Whether a file that is declared so may be a qcow2 image; without a format it is probed. */
static bool may_be_qcow2(const char *fmt)
{
    return !fmt || !*fmt || strcmp(fmt, "qcow2") == 0;
}

/* Reads what a file names on behalf of the owners of the image and of what names it: 1, 0 where
 * they may not have it, or -1. */
static int read_link(struct qb_graph *g, struct qb_naming image, struct qb_naming namer,
                     const char *path, struct qb_link *out, struct qb_err *err)
{
    struct qb_io *io = qb_sched_io(g->sched);
    struct qb_file file;
    struct qb_image img;
    struct qb_err why = {0};
    const char *as = "";

    if (qb_named_open(io, image, namer, path, &file, &why) < 0) {
        if (!is_shortage(&why))
            return !qb_named_refused(why.code);
        *err = why;
        return -1;
    }
    out->owner = (struct qb_naming){.uid = file.uid, .gid = file.gid};
    if (qb_deadly_open(g->batch->deadly, io, &file, &img, &why) == 0) {
        out->backing = qb_graph_resolve(path, img.backing_name, img.backing_fmt, &as);
        out->ends = !may_be_qcow2(as);
        qb_image_close(&img);
    }
    qb_file_close(&file);
    if (!is_shortage(&why))
        return 1;
    *err = why;
    return -1;
}

/* The same, remembered: a base image is the base of many.  Whoever may not have it does not keep it
 * from others.  *link is NULL where the chain ends; it is valid until the next call. */
static int link_of(struct qb_graph *g, const struct looked *file, struct qb_naming image,
                   struct qb_naming namer, const char *path, const struct qb_link **link,
                   struct qb_err *err)
{
    struct qb_link fresh = {.id = file->id, .changed = file->changed};
    int r;

    *link = qb_link_cache_find(&g->links, file->id, file->changed);
    if (*link)
        return 0;
    r = read_link(g, image, namer, path, &fresh, err);
    if (r <= 0)
        return r;
    *link = qb_link_cache_put(&g->links, fresh);
    return *link ? 0 : qb_fail_memory(err);
}

bool qb_graph_learns(const struct qb_graph *g)
{
    return g->ids != NULL;
}

void qb_graph_learn(struct qb_graph *g, size_t job, const struct stat *last,
                    const struct qb_info *after)
{
    const char *name = after->backing_file ? after->backing_file : "", *as = "";
    struct qb_link link = {.id = {last->st_dev, last->st_ino},
                           .changed = last->st_ctim,
                           .owner = {.uid = last->st_uid, .gid = last->st_gid}};

    link.backing = qb_graph_resolve(g->batch->jobs[job].path, name, after->backing_fmt, &as);
    link.ends = !may_be_qcow2(as);
    qb_link_cache_put(&g->links, link); /* or it will be read */
}

/* Follows a chain until a job that is not done, the image itself, or the end. */
static int follow(struct qb_graph *g, size_t job, struct qb_naming image, const char *path,
                  bool ends, struct qb_need *need, struct qb_err *err)
{
    struct qb_naming namer = image;
    const struct qb_link *link;

    for (unsigned depth = 0; path; depth++) {
        const struct looked *file = look_up(g, path, depth);
        size_t other = job_of(g, file->id);

        if (depth == QB_CHAIN_MAX_DEPTH || same(file->id, g->ids[job])) {
            need->loop = true;
            need->deep = depth == QB_CHAIN_MAX_DEPTH;
            return 0;
        }
        if (other != QB_NO_JOB && !qb_queue_is_done(g->queue, other)) {
            need->job = other;
            return 0;
        }
        if (file->id.ino == 0 || ends)
            return 0;
        if (link_of(g, file, image, namer, path, &link, err) < 0)
            return -1;
        if (!link)
            return 0;
        namer = link->owner;
        namer.path = path;
        path = link->backing;
        ends = link->ends;
    }
    return 0;
}

static int follow_name(struct qb_graph *g, size_t job, struct qb_naming owner, const char *name,
                       const char *fmt, struct qb_need *need, struct qb_err *err)
{
    const char *as;
    QB_AUTO(qb_buf) char *path = qb_graph_resolve(g->batch->jobs[job].path, name, fmt, &as);

    return path ? follow(g, job, owner, path, !may_be_qcow2(as), need, err) : 0;
}

int qb_graph_need(struct qb_graph *g, size_t job, struct qb_naming owner,
                  const struct qb_request *rq, const struct qb_info *info, struct qb_need *need,
                  struct qb_err *err)
{
    bool replaced = rq->set & QB_KEY_BACKING_FILE;
    const char *after = replaced ? rq->backing_file : info->backing_file;
    const char *fmt = rq->set & QB_KEY_BACKING_FMT ? rq->backing_fmt : info->backing_fmt;

    *need = (struct qb_need){.job = QB_NO_JOB, .must = true};
    if (!info->has_backing_file && (!after || !*after))
        return 0;
    if (!g->ids && make_index(g) < 0)
        return qb_fail_memory(err);
    if (after && *after && (follow_name(g, job, owner, after, fmt, need, err) < 0 || need->loop))
        return need->loop ? 0 : -1;
    if (need->job != QB_NO_JOB || !replaced || !info->has_backing_file)
        return 0;
    need->must = false;
    if (follow_name(g, job, owner, info->backing_file, info->backing_fmt, need, err) < 0)
        return -1;
    need->loop = false; /* the request is what ends it */
    return 0;
}
