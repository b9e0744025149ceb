/* Computes from the members' backing files: lists of overlays, depths, loops, and which job goes
 * first. */
#include "backing/tree.h"

#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "backing/order.h"
#include "job/rules.h"
#include "opener/look.h"

/* ---- relations ------------------------------------------------------------------------------- */

/* The last ones first, so that the lists are in the members' order. */
static void link_overlays(struct qb_family *f)
{
    for (size_t i = f->members.n; i-- > 0;) {
        struct qb_member *m = &f->members.items[i], *base;

        if (m->base == QB_NO_MEMBER)
            continue;
        base = &f->members.items[m->base];
        m->next = base->first_overlay;
        base->first_overlay = i;
        base->n_overlays++;
    }
}

/* From the files without a backing file upwards, every member is reached except loops and what is
 * above them. */
static void measure_depth(struct qb_family *f, size_t root)
{
    struct qb_member *m = f->members.items;
    size_t at = root;

    for (;;) {
        m[at].above_loop = false;
        m[at].depth = at == root ? 0 : m[m[at].base].depth + 1;
        if (m[at].first_overlay != QB_NO_MEMBER) {
            at = m[at].first_overlay;
            continue;
        }
        while (at != root && m[at].next == QB_NO_MEMBER)
            at = m[at].base;
        if (at == root)
            return;
        at = m[at].next;
    }
}

/* Whoever goes down from above a loop as often as there are members is inside it. */
static void mark_loop(struct qb_family *f, size_t at)
{
    struct qb_member *m = f->members.items;

    for (size_t i = 0; i < f->members.n && !m[at].in_loop; i++)
        at = m[at].base;
    for (; !m[at].in_loop; at = m[at].base)
        m[at].in_loop = true;
}

void qb_family_relate(struct qb_family *f)
{
    link_overlays(f);
    qb_vec_each (m, &f->members)
        m->above_loop = true;
    for (size_t i = 0; i < f->members.n; i++)
        if (f->members.items[i].base == QB_NO_MEMBER)
            measure_depth(f, i);
    for (size_t i = 0; i < f->members.n; i++)
        if (f->members.items[i].above_loop && !f->members.items[i].in_loop)
            mark_loop(f, i);
    qb_vec_each (m, &f->members)
        m->above_loop &= !m->in_loop;
}

/* ---- what goes first ------------------------------------------------------------------------- */

/* The member of each job; to be freed. */
static size_t *members_of_jobs(const struct qb_family *f, size_t n_jobs)
{
    size_t *of = malloc((n_jobs + 1) * sizeof(*of));

    for (size_t i = 0; of && i < n_jobs; i++)
        of[i] = QB_NO_MEMBER;
    for (size_t i = 0; of && i < f->members.n; i++)
        if (f->members.items[i].job != QB_NO_JOB)
            of[f->members.items[i].job] = i;
    return of;
}

static int order_one(struct qb_graph *graph, const struct qb_opener *by, const struct qb_job *job,
                     struct qb_member *m, const size_t *of, struct qb_err *err)
{
    struct qb_naming owner = {m->uid, m->gid, m->path};
    struct qb_info info = {.has_backing_file = m->backing_name,
                           .backing_file = m->backing_name,
                           .backing_fmt = m->backing_fmt};
    struct qb_request rq = job->request;
    QB_AUTO(qb_buf) char *name = NULL;
    struct qb_need need;
    struct qb_err why;

    if (job->rules && job->rules->moves) /* the run reports a name that cannot be computed */
        qb_moves_rename(job->rules->moves, by, job->path, &info, &rq, &name, &why);
    if (qb_graph_need(graph, m->job, owner, &rq, &info, &need, err) < 0)
        return -1;
    m->after = need.job == QB_NO_JOB ? QB_NO_MEMBER : of[need.job];
    m->after_must = need.must;
    return 0;
}

int qb_family_order(struct qb_family *f, const struct qb_batch *batch, struct qb_sched *sched,
                    struct qb_err *err)
{
    struct qb_queue *queue = qb_queue_new(batch->n_jobs);
    struct qb_graph *graph = queue ? qb_graph_new(batch, queue, sched) : NULL;
    QB_AUTO(qb_buf) size_t *of = members_of_jobs(f, batch->n_jobs);
    int rc = graph && of ? 0 : qb_fail_memory(err);

    for (size_t i = 0; rc == 0 && i < f->members.n; i++)
        if (f->members.items[i].job != QB_NO_JOB && f->members.items[i].kind == QB_MEMBER_QCOW2)
            rc = order_one(graph, qb_io_opener(qb_sched_io(sched)),
                           &batch->jobs[f->members.items[i].job], &f->members.items[i], of, err);
    qb_graph_free(graph);
    qb_queue_free(queue);
    return rc;
}
