#include "amend/amend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "amend/as_found.h"
#include "amend/plan.h"
#include "amend/verify.h"
#include "base/clock.h"
#include "base/result.h"
#include "check/version2.h"

struct qb_amend {
    char *path;
    struct qb_file file;
    struct qb_image img;
    bool have_image;
    struct qb_plan plan;
    bool have_plan;
    struct qb_content content; /* the guest's view before the amend */
    const struct qb_request *rq;
    const struct qb_chain *lent;
    struct qb_err err;
    struct qb_info before, after;
    struct qb_result result; /* borrows from the members above until the release */
    bool from_disk;          /* see qb_amend_verify_from_disk */
    bool flipped;
    bool released; /* only the result is left */
};

struct qb_amend *qb_amend_new(const char *path)
{
    struct qb_amend *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->file.fd = -1;
    a->path = strdup(path);
    if (!a->path) {
        free(a);
        return NULL;
    }
    return a;
}

void qb_amend_release(struct qb_amend *a)
{
    if (a->released)
        return;
    a->released = true;
    a->result.io = a->file.stats;
    a->result.err = qb_failure_of(&a->err);
    qb_result_own(&a->result);
    qb_content_free(&a->content);
    if (a->have_plan)
        qb_plan_free(&a->plan);
    if (a->have_image)
        qb_image_close(&a->img);
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
    return &a->file;
}

struct qb_result *qb_amend_result(struct qb_amend *a)
{
    if (!a->released) {
        a->result.io = a->file.stats;
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

static int failed(struct qb_amend *a)
{
    a->result.status = QB_STATUS_FAILED;
    a->result.after = NULL;
    return -1;
}

int qb_amend_open_file(struct qb_amend *a, struct qb_io *io, struct qb_claim how)
{
    double start = qb_now();
    struct qb_err *err = &a->err;
    int r;

    if (a->file.fd < 0 && !a->file.mem)
        r = qb_file_claim(io, a->path, how, &a->file, err);
    else
        r = qb_file_lock(&a->file, true, err);
    a->result.file_size_before = a->result.file_size_after = a->file.size;
    a->result.without_locks = a->file.without_locks;
    a->result.writers_unseen = a->file.writers_unseen;
    a->result.open_seconds += qb_now() - start;
    return r < 0 ? failed(a) : 0;
}

int qb_amend_read_header(struct qb_amend *a, struct qb_io *io)
{
    double start = qb_now();
    int r = qb_image_open(io, &a->file, &a->img, &a->err);

    if (r == 0) {
        a->have_image = true;
        qb_image_info(&a->img, &a->before);
        a->result.before = &a->before;
    }
    a->result.open_seconds += qb_now() - start;
    return r < 0 ? failed(a) : 0;
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
    return qb_chain_open(io, a->path ? a->path : "", &a->file, name, fmt, true, out, &a->err);
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
    return r < 0 ? failed(a) : 0;
}

static int check_version2(struct qb_amend *a, struct qb_io *io)
{
    uint64_t limit = a->rq->memory_limit ? a->rq->memory_limit : QB_CENSUS_MEMORY;

    if (qb_image_read_snapshots_in(io, &a->img, limit, &a->err) < 0)
        return -1;
    return qb_version2_check(io, &a->img, limit, &a->err);
}

int qb_amend_plan(struct qb_amend *a, struct qb_io *io, const struct qb_request *request)
{
    double start = qb_now();
    struct qb_err *err = &a->err;
    struct qb_target target;
    int r;

    a->rq = request;
    r = qb_target_resolve(&a->img, request, &target, err);
    a->result.status = QB_STATUS_UNCHANGED;
    a->result.after = a->result.before;
    /* The snapshot table is small, and most plans look at it. */
    if (r == 0 && target.works)
        r = qb_image_read_snapshots_in(
            io, &a->img, request->memory_limit ? request->memory_limit : QB_CENSUS_MEMORY, err);
    /* Asked for explicitly, old readers are to be able to read it. */
    if (r == 0 && !target.works && (request->set & QB_KEY_COMPAT) && a->img.header.version == 2)
        r = check_version2(a, io);
    if (r == 0 && target.works) {
        a->have_plan = true;
        r = qb_plan_make(io, &a->img, request, &target, a->lent, &a->plan, &a->result.clusters,
                         err);
        a->result.leaks = a->plan.leaks;
    }
    a->result.plan_seconds += qb_now() - start;
    if (r < 0)
        return failed(a);
    if (!target.works || qb_plan_is_void(&a->plan))
        return 0;
    qb_target_info(&a->img, &a->plan.target, &a->after);
    a->result.after = &a->after;
    a->result.status = QB_STATUS_WOULD_CHANGE;
    for (unsigned i = 0; i < QB_N_RULES; i++)
        if (qb_rules[i]->report)
            qb_rules[i]->report(&a->plan, &a->result);
    a->result.file_size_after = a->plan.size.final;
    return 0;
}

struct qb_amend_facts qb_amend_facts(const struct qb_amend *a)
{
    return (struct qb_amend_facts){a->plan.old_sector, a->plan.sector.bytes, a->plan.size.old,
                                   a->plan.rewrites};
}

const struct qb_proof *qb_amend_proof(const struct qb_amend *a)
{
    return a->have_plan && a->plan.proof.valid ? &a->plan.proof : NULL;
}

/* New clusters of zeros are a hole where nobody asked for more. */
uint64_t qb_amend_space(const struct qb_amend *a)
{
    return qb_plan_space(&a->plan);
}

bool qb_amend_appends(const struct qb_amend *a)
{
    return a->plan.appends;
}

/* Puts the length back to what it was.  What the append wrote lies behind the old image's end.  A
 * length that is not ours is in other hands, and stays. */
static void cut_tail(struct qb_amend *a, struct qb_io *io)
{
    struct qb_req req = {.file = &a->file, .op = QB_OP_SET_SIZE, .offset = a->plan.size.old};

    if (!a->file.is_block_device && a->file.size != a->plan.size.old &&
        qb_file_keeps_size(&a->file))
        qb_io_run(io, &req, 1);
    a->file.guard = (struct qb_guard){.phase = QB_PHASE_READ};
    a->result.file_size_after = a->file.size;
}

int qb_amend_remember(struct qb_amend *a, struct qb_io *io)
{
    double start = qb_now();
    int r = 0;

    if (a->rq->verify == QB_VERIFY_CONTENT)
        r = qb_verify_remember(io, &a->plan, &a->content, &a->err);
    a->result.verify_seconds += qb_now() - start;
    return r < 0 ? failed(a) : 0;
}

int qb_amend_append(struct qb_amend *a, struct qb_io *io)
{
    double start = qb_now();
    struct qb_plan *p = &a->plan;
    int r = 0;

    a->file.guard = (struct qb_guard){
        .phase = QB_PHASE_APPEND,
        .allowed = p->append_ranges,
        .n_allowed = p->n_append_ranges,
        .min_size = QB_MIN(p->size.old, p->size.cut),
    };
    if (p->appends)
        r = qb_plan_append(io, p, &a->file, &a->err);
    a->result.write_seconds += qb_now() - start;
    if (r < 0) {
        cut_tail(a, io);
        return failed(a);
    }
    return 0;
}

void qb_amend_append_lost(struct qb_amend *a, struct qb_io *io, int errnum)
{
    qb_fail_sys(&a->err, errnum, QB_NOWHERE, "the appended metadata did not reach the disk");
    cut_tail(a, io);
    failed(a);
}

void qb_amend_cancel(struct qb_amend *a, struct qb_io *io, enum qb_code why)
{
    if (a->have_plan && a->file.guard.phase == QB_PHASE_APPEND)
        cut_tail(a, io);
    qb_fail(&a->err, why, QB_NOWHERE,
            why == QB_E_TIMEOUT ? "the time limit ran out before the image was changed"
                                : "interrupted before the image was changed");
    failed(a);
    a->result.status = QB_STATUS_INTERRUPTED;
}

/* The path still leads here, and nobody cut the file or wrote the header in between. */
static int still_ours(struct qb_amend *a, struct qb_io *io)
{
    struct qb_err *err = &a->err;
    uint8_t sector[QB_SECTOR];

    if (!qb_file_still_there(&a->file))
        return qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "another file took the image's place");
    if (!qb_file_keeps_size(&a->file))
        return qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "something else changed the image's length");
    if (qb_io_read(io, &a->file, 0, sector, QB_SECTOR, "the header", err) < 0)
        return -1;
    if (memcmp(sector, a->plan.old_sector, QB_SECTOR) != 0)
        return qb_fail(err, QB_E_CHANGED, 0, "something else wrote the image's header");
    return 0;
}

int qb_amend_flip(struct qb_amend *a, struct qb_io *io)
{
    double start = qb_now();
    struct qb_req req = {.file = &a->file,
                         .op = QB_OP_WRITE,
                         .offset = 0,
                         .len = QB_SECTOR,
                         .buf = a->plan.sector.bytes};

    if (still_ours(a, io) < 0) {
        cut_tail(a, io);
        return failed(a);
    }
    a->file.guard = (struct qb_guard){.phase = QB_PHASE_FLIP};
    a->flipped = true;
    a->result.header_sent = true;
    if (qb_io_run(io, &req, 1)) {
        qb_io_fail(&req, "the header", &a->err);
        a->file.guard.phase = QB_PHASE_READ;
        return failed(a);
    }
    a->result.write_seconds += qb_now() - start;
    return 0;
}

bool qb_amend_has_flipped(const struct qb_amend *a)
{
    return a->flipped;
}

int qb_amend_flipped(struct qb_amend *a, int errnum)
{
    a->file.guard.phase = QB_PHASE_READ;
    if (errnum) {
        qb_fail_sys(&a->err, errnum, QB_NOWHERE,
                    "the amend was written, but whether the disk has it is unknown");
        a->err.code = QB_E_DURABILITY;
        return failed(a);
    }
    a->result.status = QB_STATUS_CHANGED;
    a->result.committed = true;
    if (a->plan.size.cut < a->plan.size.old)
        a->result.tail_given_back = a->plan.size.old - a->plan.size.cut;
    qb_plan_free_append(&a->plan);
    return 0;
}

static void note_space(struct qb_amend *a)
{
    a->result.file_size_after = a->file.size;
    if (a->plan.appends || a->plan.freed.punches.n)
        a->result.allocated_delta =
            (int64_t)qb_file_allocated(&a->file) - (int64_t)a->file.allocated_at_open;
}

/* The amended image is there, and is not to be trusted: what it takes to go back is handed out. */
static int mistrust(struct qb_amend *a)
{
    note_space(a);
    if (a->err.code == QB_E_VERIFY) {
        a->result.old_sector = a->plan.old_sector;
        a->result.new_sector = a->plan.sector.bytes;
    }
    return failed(a);
}

void qb_amend_verify_from_disk(struct qb_amend *a)
{
    a->from_disk = true;
}

int qb_amend_verify(struct qb_amend *a, struct qb_io *io)
{
    double start = qb_now();
    bool content = a->rq->verify == QB_VERIFY_CONTENT;
    struct qb_verify_header how = {.direct = content || a->from_disk};
    int r;

    if (a->rq->verify == QB_VERIFY_NONE)
        return 0;
    r = qb_verify_amended(io, &a->plan, &a->file, &a->after, content ? &a->content : NULL, &how,
                          &a->err);
    a->result.header_from_disk = how.from_disk;
    a->result.header_wrong = how.wrong;
    qb_content_free(&a->content);
    a->result.verify_seconds += qb_now() - start;
    a->result.verified = r == 0;
    return r < 0 ? mistrust(a) : 0;
}

void qb_amend_as_found(struct qb_amend *a, struct qb_io *io, struct qb_digest *out)
{
    struct qb_err ignored = {0};

    *out = (struct qb_digest){0};
    if (a->result.committed && a->err.code == QB_E_VERIFY && !a->file.is_block_device)
        qb_as_found(io, &a->file, out, &ignored);
}

#define PUNCHES_AT_ONCE 64u

void qb_amend_settle(struct qb_amend *a, struct qb_io *io)
{
    struct qb_plan *p = &a->plan;
    struct qb_req reqs[PUNCHES_AT_ONCE];
    struct qb_req size = {.file = &a->file, .op = QB_OP_SET_SIZE, .offset = p->size.final};

    a->file.guard = (struct qb_guard){
        .phase = QB_PHASE_SETTLE,
        .allowed = p->freed.punches.items,
        .n_allowed = p->freed.punches.n,
        .min_size = QB_MIN(p->size.appended, p->size.final),
    };
    if (p->size.final != a->file.size)
        qb_io_run(io, &size, 1);
    for (size_t i = 0; i < p->freed.punches.n && !a->file.is_block_device;) {
        size_t n = 0;

        for (; n < PUNCHES_AT_ONCE && i < p->freed.punches.n; n++, i++)
            reqs[n] = (struct qb_req){.file = &a->file,
                                      .op = QB_OP_PUNCH,
                                      .offset = p->freed.punches.items[i].first,
                                      .len = p->freed.punches.items[i].end -
                                             p->freed.punches.items[i].first};
        if (qb_io_run(io, reqs, n))
            break; /* a file system without holes: the clusters are free for QEMU all the same */
    }
    a->file.guard = (struct qb_guard){.phase = QB_PHASE_READ};
    note_space(a);
}

size_t qb_amend_memory(const struct qb_amend *a)
{
    if (a->released)
        return sizeof(*a);
    return sizeof(*a) + qb_image_memory(&a->img) + a->plan.census.counts.memory +
           qb_content_memory(&a->content);
}

void qb_amend_describe(const struct qb_amend *a, void (*line)(void *arg, const char *text),
                       void *arg)
{
    if (a->have_plan)
        qb_plan_describe(&a->plan, line, arg);
}
