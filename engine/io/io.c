/* Runs requests: guard, back end, statistics. */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "io/backend.h"
#include "io/budget.h"
#include "io/pace.h"

static const char *why_no_ring(int errnum)
{
    switch (errnum) {
    case EPERM:
    case EACCES:
        return "io_uring is forbidden here (by sysctl, seccomp or the container)";
    case ENOSYS:
        return "this kernel has no io_uring";
    case EOPNOTSUPP:
        return "this kernel's io_uring lacks operations that are needed";
    case ENOMEM:
        return "no memory may be locked for io_uring (ulimit -l)";
    case EMFILE:
    case ENFILE:
        return "too many files are open";
    default:
        return "io_uring could not be started";
    }
}

static int fail_no_ring(int errnum, struct qb_err *err)
{
    qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE, "%s", why_no_ring(errnum));
    if (err)
        err->sys_errno = errnum;
    return -1;
}

int qb_io_open(enum qb_io_kind kind, struct qb_io **out, const char **fell_back, struct qb_err *err)
{
    const char *why = NULL;
    int errnum;

    if (kind != QB_IO_POSIX) {
        errnum = qb_ring_open(out);
        if (errnum && kind == QB_IO_URING)
            return fail_no_ring(errnum, err);
        if (errnum)
            why = why_no_ring(errnum);
    }
    if (kind == QB_IO_POSIX || why) {
        if (qb_posix_open(out))
            return qb_fail_memory(err);
    }
    if (fell_back)
        *fell_back = why;
    return 0;
}

void qb_io_close(struct qb_io *io)
{
    if (!io)
        return;
    qb_mounts_free(&io->mounts);
    io->ops->close(io);
}

const char *qb_io_name(const struct qb_io *io)
{
    return io->ops->name;
}

uint64_t qb_io_window(const struct qb_io *io)
{
    return qb_io_piece(io, io->window ? io->window : QB_WINDOW_BYTES);
}

uint64_t qb_io_slice(const struct qb_io *io)
{
    return qb_min(qb_io_window(io) / 4, QB_SLICE_BYTES);
}

uint64_t qb_io_piece(const struct qb_io *io, uint64_t bytes)
{
    return io->pace ? qb_pace_piece(io->pace, bytes) : bytes;
}

void qb_io_set_pace(struct qb_io *io, struct qb_pace *pace)
{
    io->pace = pace;
}

void qb_io_spare_signals(struct qb_io *io)
{
    struct sigaction now;

    io->spared = sigaction(SIGIO, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

void qb_io_set_owners(struct qb_io *io, struct qb_owners *owners)
{
    io->owners = owners;
}

void qb_io_set_opener(struct qb_io *io, const struct qb_opener *opener, qb_open_direct_fn *direct)
{
    io->opener = opener;
    io->open_direct = direct;
}

const struct qb_opener *qb_io_opener(const struct qb_io *io)
{
    return io->opener;
}

void qb_io_set_window(struct qb_io *io, uint64_t bytes)
{
    io->window = bytes;
}

struct qb_stopper qb_io_swap_stop(struct qb_io *io, struct qb_stopper now)
{
    struct qb_stopper was = {io->stop, io->stop_arg};

    qb_io_set_stop(io, now.stop, now.arg);
    return was;
}

void qb_io_set_stop(struct qb_io *io, qb_stop_fn *stop, void *arg)
{
    io->stop = stop;
    io->stop_arg = arg;
}

int qb_io_go_on(struct qb_io *io, struct qb_err *err)
{
    if (!io)
        return 0;
    if (io->stop && io->stop(io->stop_arg))
        return qb_fail(err, QB_E_CANCELLED, QB_NOWHERE, "stopped before the end");
    return io->budget && qb_budget_is_spent(io->budget) ? qb_budget_fail(io->budget, err) : 0;
}

void qb_io_set_budget(struct qb_io *io, struct qb_budget *budget)
{
    if (io->budget)
        qb_budget_pause(io->budget);
    io->budget = budget;
    if (budget)
        qb_budget_go(budget);
}

struct qb_budget *qb_io_budget(const struct qb_io *io)
{
    return io->budget;
}

void qb_io_opened(struct qb_io *io, const struct qb_file *file)
{
    if (io && io->budget)
        qb_budget_add(io->budget, file);
}

/* Whether the request may be left out without a loss.  A change of the length may not: it may
 * restore the old one. */
static bool may_be_left_out(const struct qb_req *req)
{
    enum qb_phase phase = req->file->guard.phase;

    return (phase == QB_PHASE_READ || phase == QB_PHASE_APPEND) && req->op != QB_OP_SET_SIZE &&
           req->op != QB_OP_SYNC;
}

static uint64_t limit_of_process(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return limit.rlim_cur;
}

uint64_t qb_file_limit(const struct qb_file *file)
{
    if (file->mem || file->is_block_device)
        return UINT64_MAX;
    return file->limit_known ? file->limit : limit_of_process();
}

static uint64_t limit_of(struct qb_io *io)
{
    if (!io->limit_known)
        io->limit = limit_of_process();
    io->limit_known = true;
    return io->limit;
}

/* For plans, asked once by each worker. */
void qb_io_know_limit(struct qb_io *io, struct qb_file *file)
{
    if (file->limit_known || file->mem)
        return;
    file->limit = limit_of(io);
    file->limit_known = true;
}

void qb_io_begin_phase(struct qb_io *io)
{
    io->has_phases = true;
    io->limit_known = false;
}

/* The kernel writes the part below RLIMIT_FSIZE and refuses the rest, so a limit inside the
 * header's sector would tear it: it is asked for anew, by the workers of a run at the beginning of
 * each phase.  Only another process could set one meanwhile. */
static bool would_tear(struct qb_io *io, const struct qb_req *req)
{
    return req->op == QB_OP_WRITE && req->file->guard.phase == QB_PHASE_FLIP && !req->file->mem &&
           !req->file->is_block_device &&
           req->offset + req->len > (io->has_phases ? limit_of(io) : limit_of_process());
}

/* Judges a request before it is tried: 0, or the errno with which it is refused. */
static int refusal(struct qb_io *io, const struct qb_req *req)
{
    uint64_t end;
    int rc = qb_guard_check(req->file, req->op, req->offset, req->len);

    if (rc)
        return rc;
    if (req->op == QB_OP_SYNC)
        return 0;
    if (req->op == QB_OP_SET_SIZE) {
        if (req->offset > INT64_MAX)
            return EFBIG;
        return req->file->is_block_device && req->offset != req->file->size ? EINVAL : 0;
    }
    if (__builtin_add_overflow(req->offset, req->len, &end) || end > INT64_MAX)
        return req->op == QB_OP_READ ? ENODATA : EFBIG;
    return would_tear(io, req) ? EFBIG : 0;
}

/* A write that failed may still have made the file longer. */
static void ask_size(struct qb_file *file)
{
    struct stat st;

    if (!file->is_block_device && file->fd >= 0 && fstat(file->fd, &st) == 0)
        file->size = (uint64_t)st.st_size;
}

static void count_change(struct qb_file *file, const struct qb_req *req)
{
    file->stats.write_ops++;
    if (req->op == QB_OP_WRITE || req->op == QB_OP_FILL)
        file->stats.write_bytes += req->len;
    else if (req->op == QB_OP_ZERO)
        file->stats.zeroed_bytes += req->len;

    if (req->op == QB_OP_SET_SIZE)
        file->size = req->offset;
    else if (req->op != QB_OP_PUNCH && req->len && !file->is_block_device)
        file->size = QB_MAX(file->size, req->offset + req->len);
}

static void account(const struct qb_req *req)
{
    struct qb_file *file = req->file;

    if (req->op == QB_OP_SYNC || req->error == QB_EGUARD)
        return;
    if (req->op == QB_OP_READ) {
        file->stats.read_ops += !req->error;
        file->stats.read_bytes += req->error ? 0 : req->len;
        return;
    }
    qb_file_drop_head(file);
    if (req->op == QB_OP_SET_SIZE)
        qb_file_forget(file, QB_MIN(file->size, req->offset), UINT64_MAX);
    else
        qb_file_forget(file, req->offset, req->offset + req->len);
    if (req->error)
        ask_size(file);
    else
        count_change(file, req);
}

/* Waits for the turn of the whole batch; false when stopped meanwhile. */
static bool keep_pace(struct qb_io *io, const struct qb_req *reqs, size_t n)
{
    uint64_t bytes = 0, ops = 0;

    for (size_t i = 0; i < n; i++) {
        if (reqs[i].op == QB_OP_WRITE || reqs[i].op == QB_OP_FILL)
            bytes += reqs[i].len;
        ops += reqs[i].op != QB_OP_SYNC && (reqs[i].len || reqs[i].op == QB_OP_SET_SIZE);
    }
    return qb_pace_wait(io->pace, bytes, ops, io->stop, io->stop_arg);
}

size_t qb_io_run(struct qb_io *io, struct qb_req *reqs, size_t n)
{
    bool stops = (io->stop && io->stop(io->stop_arg)) || (io->pace && !keep_pace(io, reqs, n));
    size_t i, failed = 0;

    for (i = 0; i < n; i++)
        qb_io_know_limit(io, reqs[i].file);
    for (i = 0; i < n; i++)
        reqs[i].error = stops && may_be_left_out(&reqs[i]) ? ECANCELED : refusal(io, &reqs[i]);
    for (i = 0; io->opener && i < n; i++)
        if (!reqs[i].error && reqs[i].op == QB_OP_FILL && reqs[i].len >= QB_FILL_DIRECT_FROM)
            io->open_direct(io, reqs[i].file);
    io->ops->run(io, reqs, n);
    for (i = 0; i < n; i++) {
        io->limit_known &= reqs[i].file->guard.phase != QB_PHASE_APPEND; /* it may take long */
        account(&reqs[i]);
        failed += reqs[i].error != 0;
    }
    return failed;
}
