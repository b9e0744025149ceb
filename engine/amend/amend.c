/* An amend up to its plan: opens and locks, reads the header, plans.  Nothing is written. */
#include <string.h>

#include "amend/rounds.h"
#include "base/clock.h"
#include "base/result.h"
#include "plan/raw.h"

struct qb_amend *qb_amend_new(const char *path)
{
    struct qb_amend *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->file.fd = a->data.fd = -1;
    a->path = strdup(path);
    if (!a->path) {
        free(a);
        return NULL;
    }
    return a;
}

/* Of both files; each barrier counts once. */
static struct qb_io_stats stats_of(const struct qb_amend *a)
{
    struct qb_io_stats sum = qb_amend_view(a)->file.stats;
    const struct qb_io_stats *more = &qb_amend_view(a)->data.stats;

    sum.read_bytes += more->read_bytes;
    sum.write_bytes += more->write_bytes;
    sum.zeroed_bytes += more->zeroed_bytes;
    sum.read_ops += more->read_ops;
    sum.write_ops += more->write_ops;
    return sum;
}

void qb_amend_release(struct qb_amend *a)
{
    if (a->released)
        return;
    qb_round_drop(a);
    a->released = true;
    a->result.io = stats_of(a);
    a->result.err = qb_failure_of(&a->err);
    qb_result_own(&a->result);
    qb_content_free(&a->content);
    if (a->have_plan)
        qb_plan_free(&a->plan);
    if (a->have_image)
        qb_image_close(&a->img);
    qb_file_close(&a->data);
    qb_file_close(&a->file);
    free(qb_take(&a->path));
}

void qb_amend_close(struct qb_amend *a)
{
    if (a) {
        qb_amend_release(a);
        qb_result_clear(&a->result);
    }
    free(a);
}

struct qb_file *qb_amend_file(struct qb_amend *a)
{
    return &qb_amend_now(a)->file;
}

struct qb_file *qb_amend_data_file(struct qb_amend *a)
{
    return a->data.fd >= 0 || a->data.mem ? &a->data : NULL;
}

void qb_amend_set_data_file(struct qb_amend *a, struct qb_file *file)
{
    a->data = *file;
    *file = (struct qb_file){.fd = -1};
}

size_t qb_amend_dirty_files(struct qb_amend *a, struct qb_file *files[QB_AMEND_FILES])
{
    size_t n = 0;

    files[n++] = qb_amend_file(a);
    if (!a->flipped && a->have_plan && a->plan.data.writes)
        files[n++] = &a->data;
    return n;
}

struct qb_result *qb_amend_result(struct qb_amend *a)
{
    if (!a->released) {
        a->result.io = stats_of(a);
        a->result.err = qb_failure_of(&a->err);
    }
    return &a->result;
}

struct qb_result qb_amend_take_result(struct qb_amend *a)
{
    struct qb_result result;

    qb_amend_release(a);
    result = a->result;
    a->result = (struct qb_result){.status = result.status};
    return result;
}

struct qb_err *qb_amend_err(struct qb_amend *a)
{
    return &a->err;
}

int qb_amend_failed(struct qb_amend *a)
{
    a->result.status = QB_STATUS_FAILED;
    a->result.after = NULL;
    return -1;
}

void qb_amend_give_file(struct qb_amend *a, struct qb_file *file)
{
    a->file = *file;
    a->is_claimed = true;
    *file = (struct qb_file){.fd = -1};
}

int qb_amend_open_file(struct qb_amend *a, struct qb_io *io, struct qb_claim how)
{
    double start = qb_now();
    int r = 0;

    if (a->file.fd < 0 && !a->file.mem)
        r = qb_file_claim(io, a->path, how, &a->file, &a->err);
    else if (!a->is_claimed)
        r = qb_file_lock(&a->file, true, &a->err);
    a->result.file_size_before = a->result.file_size_after = a->file.size;
    a->result.without_locks = a->file.without_locks;
    a->result.writers_unseen = a->file.writers_unseen;
    a->result.other_names = a->file.other_names;
    a->result.open_seconds += qb_now() - start;
    return r < 0 ? qb_amend_failed(a) : 0;
}

void qb_amend_expect(struct qb_amend *a, const struct qb_request *request)
{
    a->rq = request;
}

/* Whether the file is an image already, that a conversion which was interrupted has made. */
static int is_converted(struct qb_amend *a, struct qb_io *io, bool *yes)
{
    uint8_t sector[QB_SECTOR];

    *yes = false;
    if (!a->rq->convert_header || a->file.size < QB_SECTOR)
        return 0;
    if (qb_io_read(io, &a->file, 0, sector, QB_SECTOR, "the header", &a->err) < 0)
        return -1;
    *yes = memcmp(sector, a->rq->convert_header, QB_SECTOR) == 0;
    return 0;
}

static int open_image(struct qb_amend *a, struct qb_io *io)
{
    bool converted = true;

    if (a->rq && qb_asked(a->rq, QB_KEY_CONVERT) && is_converted(a, io, &converted) < 0)
        return -1;
    return converted ? qb_image_open_to_mend(io, &a->file, &a->img, &a->err)
                     : qb_raw_open(io, &a->file, a->rq, &a->img, &a->err);
}

int qb_amend_read_header(struct qb_amend *a, struct qb_io *io)
{
    double start = qb_now();
    int r = open_image(a, io);

    if (r == 0) {
        a->have_image = true;
        qb_image_info(&a->img, &a->before);
        a->result.before = &a->before;
    }
    a->result.open_seconds += qb_now() - start;
    return r < 0 ? qb_amend_failed(a) : 0;
}

int qb_amend_open(struct qb_amend *a, struct qb_io *io, struct qb_claim how, struct qb_file *file)
{
    if (file) {
        a->file = *file;
        memset(file, 0, sizeof(*file));
        file->fd = -1;
    }
    if (qb_amend_open_file(a, io, how) < 0)
        return -1;
    return qb_amend_read_header(a, io);
}

void qb_amend_lend(struct qb_amend *a, const struct qb_chain *chain)
{
    a->lent = chain;
}

static int open_chain(struct qb_amend *a, struct qb_io *io, const char *name, const char *fmt,
                      struct qb_chain *out)
{
    return qb_chain_open(io, &(struct qb_chain_top){a->path ? a->path : "", &a->file, name, fmt},
                         QB_CHAIN_WHOLE, out, &a->err);
}

int qb_amend_check_backing(struct qb_amend *a, struct qb_io *io, const struct qb_request *rq)
{
    double start = qb_now();
    struct qb_chain before = {0}, after = {0};
    const char *fmt = rq->set & QB_KEY_BACKING_FMT ? rq->backing_fmt : a->img.backing_fmt;
    int r = qb_image_read_snapshots(io, &a->img, &a->err);

    if (r == 0)
        r = open_chain(a, io, a->img.backing_name, a->img.backing_fmt, &before);
    if (r == 0)
        r = open_chain(a, io, rq->backing_file, fmt, &after);
    if (r == 0)
        r = qb_chain_same(io, &a->img, &before, &after, &a->err);
    qb_chain_close(&before);
    qb_chain_close(&after);
    a->result.plan_seconds += qb_now() - start;
    return r < 0 ? qb_amend_failed(a) : 0;
}

static int read_snapshots(struct qb_amend *a, struct qb_io *io)
{
    uint64_t limit = a->rq->memory_limit ? a->rq->memory_limit : QB_CENSUS_MEMORY;

    return qb_image_read_snapshots_in(io, &a->img, limit, &a->err);
}

int qb_amend_plan(struct qb_amend *a, struct qb_io *io, const struct qb_request *request)
{
    double start = qb_now();
    struct qb_err *err = &a->err;
    struct qb_target target = {0};
    int r = 0;

    a->rq = request;
    a->result.status = QB_STATUS_UNCHANGED;
    a->result.after = a->result.before;
    if (qb_asked(request, QB_KEY_SNAPSHOTS))
        r = read_snapshots(a, io);
    if (r == 0)
        r = qb_target_resolve(&a->img, request, &target, err);
    /* The snapshot table is small, and most plans look at it. */
    if (r == 0 && target.works && !qb_asked(request, QB_KEY_SNAPSHOTS))
        r = read_snapshots(a, io);
    if (r < 0 || !target.works) {
        qb_target_free(&target);
    } else {
        a->have_plan = true;
        r = qb_plan_make(&(struct qb_plan_in){io, &a->img, request, &a->data, a->lent, 0}, &target,
                         &a->plan, &a->result.clusters, err);
        a->result.leaks = a->plan.leaks;
        a->result.image_end_offset = a->plan.image_end;
        a->result.device_lacks = a->plan.size.lacks;
        if (r == 0)
            r = qb_plan_compare_tail(io, &a->plan, &a->file, err);
        if (r < 0 && a->plan.size.lacks && a->may_extend) {
            a->err = (struct qb_err){.code = QB_E_NONE};
            r = 0;
        }
    }
    if (r == 0 && (!target.works || a->plan.target.reach == QB_REACH_HEADER))
        r = qb_rules_confirm(io, &a->img, request, err);
    a->result.plan_seconds += qb_now() - start;
    if (r < 0)
        return qb_amend_failed(a);
    if (!target.works || qb_plan_is_void(&a->plan))
        return 0;
    qb_target_info(&a->img, &a->plan.target, &a->after);
    a->result.after = &a->after;
    a->result.status = QB_STATUS_WOULD_CHANGE;
    for (unsigned i = 0; i < QB_N_RULES; i++)
        if (qb_rules[i]->report)
            qb_rules[i]->report(&a->plan, &a->result);
    a->result.file_size_after = a->plan.size.final;
    if (a->plan.reclaim.shortest && !a->file.is_block_device)
        a->result.file_size_after = a->plan.reclaim.shortest;
    return 0;
}

void qb_amend_may_extend(struct qb_amend *a)
{
    a->may_extend = true;
}

uint64_t qb_amend_lacks(const struct qb_amend *a)
{
    return a->plan.size.lacks;
}

int qb_amend_fit(struct qb_amend *a)
{
    if (qb_file_measure(&a->file, &a->err) < 0 || qb_plan_fit(&a->plan, &a->err) < 0)
        return qb_amend_failed(a);
    return 0;
}

struct qb_amend_facts qb_amend_facts(const struct qb_amend *a)
{
    return (struct qb_amend_facts){a->plan.old_sector, a->plan.sector.bytes, a->plan.size.old,
                                   a->plan.data.cuts, a->plan.rewrites};
}

const struct qb_proof *qb_amend_proof(const struct qb_amend *a)
{
    return a->have_plan && a->plan.proof.valid ? &a->plan.proof : NULL;
}

/* New clusters of zeros are a hole unless the request says otherwise. */
uint64_t qb_amend_space(const struct qb_amend *a)
{
    return qb_plan_space(&qb_amend_view(a)->plan);
}

uint64_t qb_amend_growth(const struct qb_amend *a)
{
    return qb_plan_growth(&qb_amend_view(a)->plan);
}

bool qb_amend_appends(const struct qb_amend *a)
{
    return qb_amend_view(a)->plan.appends;
}
size_t qb_amend_memory(const struct qb_amend *a)
{
    if (a->released)
        return sizeof(*a);
    return sizeof(*a) + qb_image_memory(&a->img) + a->plan.census.counts.memory +
           qb_content_memory(&a->content) +
           (a->plan.target.deleted ? a->img.header.nb_snapshots : 0) +
           (a->round ? qb_amend_memory(a->round) : 0);
}

void qb_amend_describe(const struct qb_amend *a, void (*line)(void *arg, const char *text),
                       void *arg)
{
    if (a->have_plan)
        qb_plan_describe(&a->plan, line, arg);
}
