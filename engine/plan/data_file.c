#include "plan/data_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "plan/plan.h"
#include "base/units.h"
#include "opener/in_use.h"
#include "opener/named.h"
#include "opener/look.h"
#include "chain/data_name.h"

#define PIECE_BYTES    (UINT64_C(1) << 20)
#define ZEROED_AT_ONCE (UINT64_C(16) << 30)

/* ---- the file -------------------------------------------------------------------------------- */

bool qb_data_is_open(const struct qb_plan *plan)
{
    return plan->in.data && (plan->in.data->fd >= 0 || plan->in.data->mem);
}

int qb_data_open(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_file *image = plan->in.img->file;
    bool writes = qb_target_resizes(plan->in.img, &plan->target);
    struct qb_claim how = {.writable = image->writable && writes,
                           .without_locks = plan->in.rq->without_locks};
    QB_AUTO(qb_buf) char *path = NULL;
    struct qb_err why = {0};

    if (qb_data_is_open(plan))
        return 0;
    if (!plan->in.data)
        return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE, "the data file has no place");
    if (!plan->target.data_name[0])
        return qb_fail(err, QB_E_BACKING_REFUSED, QB_NOWHERE,
                       "the header does not name the external data file, and data_file=NAME was "
                       "not given");
    if (qb_data_locate(image->opener, image->path, plan->target.data_name, &path, err) < 0)
        return -1;
    if (qb_named_claim(plan->in.io, image, path, how, plan->in.data, &why) < 0)
        return qb_data_blame(path, &why, err);
    return 0;
}

int qb_data_claim(struct qb_io *io, const struct qb_file *image, const char *name,
                  bool without_locks, struct qb_file *out, struct qb_err *err)
{
    const struct qb_claim how = {.writable = image->writable, .without_locks = without_locks};
    QB_AUTO(qb_buf) char *path = NULL;

    if (qb_data_locate(image->opener, image->path, name, &path, err) < 0)
        return -1;
    return qb_named_claim(io, image, path, how, out, err);
}

/* ---- planning -------------------------------------------------------------------------------- */

static int check_room(const struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_plan_data *d = &plan->data;
    const struct qb_file *file = plan->in.data;
    uint64_t limit = file->fd < 0 ? UINT64_MAX : qb_file_limit(file);
    char a[QB_TEXT_NUMBER], b[QB_TEXT_NUMBER];

    if (file->is_block_device && d->appended > d->old)
        return qb_fail(
            err, QB_E_NO_SPACE, QB_NOWHERE,
            "the external data file %.150s is a device of %s, and the disk is to have %s",
            file->path, qb_text_size_exact(d->old, a), qb_text_size_exact(d->appended, b));
    if (d->appended > d->old && d->appended > limit)
        return qb_fail_sys(err, EFBIG, QB_NOWHERE,
                           "the external data file is to have %s, and RLIMIT_FSIZE allows %s",
                           qb_text_size_exact(d->appended, a), qb_text_size_exact(limit, b));
    return 0;
}

int qb_data_plan(struct qb_plan *plan, struct qb_err *err)
{
    uint64_t was = plan->in.img->header.size, size = plan->target.header.size;
    struct qb_plan_data *d = &plan->data;

    if (!qb_data_is_open(plan))
        return 0;
    d->old = d->appended = d->final = plan->in.data->size;
    if (size > was) {
        d->appended = d->final = QB_MAX(d->old, size);
        d->zeros = (struct qb_range){was, size};
        if (d->bytes && plan->in.img->header.autoclear & QB_AUTOCLEAR_DATA_FILE_RAW)
            return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                           "a larger disk over a backing file that has data where a raw data file "
                           "ends has zeros: amend data_file_raw first, and the size after that");
        if (d->bytes) /* the disk may end within this cluster again */
            d->bytes_len = QB_MIN(d->bytes_len, size - d->bytes_at);
        d->allowed = (struct qb_range){d->bytes ? QB_MIN(d->bytes_at, was) : was, size};
        d->writes = d->bytes || d->appended > d->old || was < d->old;
    }
    if (size < was && !plan->in.data->is_block_device) {
        d->final = QB_MIN(d->old, size);
        d->cuts = d->final < d->old;
    }
    return check_room(plan, err);
}

/* ---- the epochs ------------------------------------------------------------------------------ */

static int set_size(struct qb_io *io, struct qb_file *file, uint64_t size, struct qb_err *err)
{
    struct qb_req req = {.file = file, .op = QB_OP_SET_SIZE, .offset = size};

    if (file->is_block_device || file->size == size || qb_io_run(io, &req, 1) == 0)
        return 0;
    return qb_io_fail(&req, "the external data file", err);
}

/* The space of what is zeroed stays reserved. */
static int zero(struct qb_io *io, struct qb_file *file, struct qb_range r, struct qb_err *err)
{
    struct qb_req req = {.file = file, .op = QB_OP_ZERO, .offset = r.first};

    for (; req.offset < r.end; req.offset += req.len) {
        req.len = qb_min(req.op == QB_OP_ZERO ? ZEROED_AT_ONCE : qb_io_piece(io, PIECE_BYTES * 64),
                         r.end - req.offset);
        if (qb_io_run(io, &req, 1) == 0)
            continue;
        if (req.op == QB_OP_FILL ||
            (req.error != EOPNOTSUPP && req.error != ENOSYS && req.error != EINVAL))
            return qb_io_fail(&req, "zeros of the external data file", err);
        req.op = QB_OP_FILL; /* no ZERO_RANGE here: the slow way */
        req.len = 0;
    }
    return 0;
}

/* Old bytes past the disk's end, in whatever part of the file holds any. */
static int zero_data(struct qb_io *io, struct qb_file *file, struct qb_range r, struct qb_err *err)
{
    uint64_t end = QB_MIN(r.end, file->size), at, stop;

    for (at = r.first; at < end; at = stop) {
        at = qb_file_next_data(file, at);
        if (at >= end)
            return 0;
        stop = qb_min(qb_file_data_end(file, at), end);
        if (zero(io, file, (struct qb_range){at, stop}, err) < 0)
            return -1;
    }
    return 0;
}

static int write_bytes(struct qb_io *io, const struct qb_plan_data *d, struct qb_file *file,
                       struct qb_err *err)
{
    struct qb_req req = {.file = file,
                         .op = QB_OP_WRITE,
                         .offset = d->bytes_at,
                         .len = d->bytes_len,
                         .buf = d->bytes};

    if (!d->bytes || qb_io_run(io, &req, 1) == 0)
        return 0;
    return qb_io_fail(&req, "the last cluster, in the external data file", err);
}

int qb_data_append(struct qb_io *io, struct qb_plan *plan, struct qb_err *err)
{
    struct qb_plan_data *d = &plan->data;
    struct qb_file *file = plan->in.data;

    if (!d->writes)
        return 0;
    file->guard = (struct qb_guard){
        .phase = QB_PHASE_APPEND, .allowed = &d->allowed, .n_allowed = 1, .min_size = d->old};
    if (set_size(io, file, d->appended, err) < 0 || zero_data(io, file, d->zeros, err) < 0 ||
        write_bytes(io, d, file, err) < 0) {
        qb_data_restore(io, plan);
        return -1;
    }
    return 0;
}

int qb_data_sync(struct qb_io *io, struct qb_file *file, struct qb_err *err)
{
    struct qb_req req = {.file = file, .op = QB_OP_SYNC};

    return qb_io_run(io, &req, 1) ? qb_io_fail(&req, "the external data file", err) : 0;
}

void qb_data_restore(struct qb_io *io, struct qb_plan *plan)
{
    struct qb_req req = {.file = plan->in.data, .op = QB_OP_SET_SIZE, .offset = plan->data.old};

    if (!plan->data.writes || plan->in.data->guard.phase != QB_PHASE_APPEND)
        return;
    if (!req.file->is_block_device && req.file->size != plan->data.old &&
        qb_file_keeps_size(req.file))
        qb_io_run(io, &req, 1);
    req.file->guard = (struct qb_guard){.phase = QB_PHASE_READ};
}

void qb_data_settle(struct qb_io *io, struct qb_plan *plan)
{
    struct qb_file *file = plan->in.data;
    struct qb_req req = {.file = file, .op = QB_OP_SET_SIZE, .offset = plan->data.final};

    if (!plan->data.cuts)
        return;
    file->guard = (struct qb_guard){.phase = QB_PHASE_SETTLE, .min_size = plan->data.final};
    if (qb_file_keeps_size(file))
        qb_io_run(io, &req, 1);
    file->guard = (struct qb_guard){.phase = QB_PHASE_READ};
}

int qb_data_check_ours(const struct qb_plan *plan, struct qb_err *err)
{
    struct qb_file *file = plan->in.data;

    if (!plan->data.writes && !plan->data.cuts)
        return 0;
    if (!qb_file_still_there(file))
        return qb_fail(err, QB_E_CHANGED, QB_NOWHERE,
                       "another file took the external data file's place");
    if (!qb_file_keeps_size(file))
        return qb_fail(err, QB_E_CHANGED, QB_NOWHERE,
                       "something else changed the external data file's length");
    return 0;
}

/* ---- verification ---------------------------------------------------------------------------- */

int qb_data_verify(struct qb_io *io, const struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_range *r = &plan->data.zeros;
    struct qb_file *file = plan->in.data;
    uint64_t at;

    if (!qb_data_is_open(plan) || r->first == r->end)
        return 0;
    if (file->size < r->end)
        return qb_fail(err, QB_E_VERIFY, QB_NOWHERE,
                       "the external data file has %llu bytes instead of %llu",
                       (unsigned long long)file->size, (unsigned long long)r->end);
    qb_file_forget(file, r->first, r->end); /* holes that were there before the flip */
    if (qb_data_first_nonzero(io, file, *r, &at, err) < 0)
        return -1;
    if (at == r->end)
        return 0;
    return qb_fail(err, QB_E_VERIFY, at,
                   "the external data file is not zero past the disk's old end");
}
