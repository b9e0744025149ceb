#include "host_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "backing/data_guard.h"
#include "outcome/outcome.h"
#include "io/backend.h"
#include "opener/in_use.h"
#include "opener/named.h"

#define FOLDER "/simulated/"

/* What run_open.c keeps free besides its four waves, with one worker, and what an image takes. */
#define FDS_BESIDES (48 + 6)
#define FDS_IMAGE   2
#define WAVES       4

static struct host *host;

void host_enter(struct host *h)
{
    host = h;
}

void host_leave(void)
{
    host = NULL;
}

void host_at_work(bool begins)
{
    if (host->at_work)
        host->at_work(begins);
}

bool host_stopped(void)
{
    if (host->stops > 1)
        host->stops--;
    else if (host->stops == 1)
        return true;
    return false;
}

void host_path(unsigned disk, char path[HOST_PATH])
{
    snprintf(path, HOST_PATH, FOLDER "%u.qcow2", disk);
}

unsigned host_roll(unsigned n)
{
    return roll(&host->dice, n);
}

unsigned *host_shuffled(size_t n)
{
    unsigned *order = calloc(n + 1, sizeof(*order));

    if (!order)
        abort();
    for (size_t i = 0; i < n; i++) {
        size_t j = roll(&host->dice, (unsigned)i + 1);

        order[i] = order[j];
        order[j] = (unsigned)i;
    }
    return order;
}

/* ---- files ----------------------------------------------------------------------------------- */

int __real_qb_file_open(const char *path, struct qb_file *out, struct qb_err *err);
int __wrap_qb_file_open(const char *path, struct qb_file *out, struct qb_err *err);

/* Backing files are real ones, and only read. */
int __wrap_qb_file_open(const char *path, struct qb_file *out, struct qb_err *err)
{
    size_t n = strlen(FOLDER);

    if (!host || strncmp(path, FOLDER, n) != 0)
        return __real_qb_file_open(path, out, err);
    if (qb_mem_reopen(host->log, (unsigned)strtoul(path + n, NULL, 10), out) < 0)
        return qb_fail_memory(err);
    return 0;
}

int __wrap_qb_file_open_to_claim(const char *path, struct qb_file *out, struct qb_err *err);
int __wrap_qb_file_open_to_claim(const char *path, struct qb_file *out, struct qb_err *err)
{
    return __wrap_qb_file_open(path, out, err);
}

int __real_qb_named_claim(struct qb_io *io, const struct qb_file *image, const char *path,
                          struct qb_claim how, struct qb_file *out, struct qb_err *err);
int __wrap_qb_named_claim(struct qb_io *io, const struct qb_file *image, const char *path,
                          struct qb_claim how, struct qb_file *out, struct qb_err *err);

/* The data file of an image is another disk, whatever its name. */
int __wrap_qb_named_claim(struct qb_io *io, const struct qb_file *image, const char *path,
                          struct qb_claim how, struct qb_file *out, struct qb_err *err)
{
    if (!host || !image->mem)
        return __real_qb_named_claim(io, image, path, how, out, err);
    if (qb_mem_reopen(host->log, qb_mem_data_of(host->log, (unsigned)image->ino), out) < 0)
        return qb_fail_memory(err);
    out->writable = how.writable;
    return 0;
}

int __real_qb_data_guard_check(struct qb_data_guard *guard, const struct qb_file *image,
                               const struct qb_request *rq, const struct qb_info *now,
                               struct qb_err *err);
int __wrap_qb_data_guard_check(struct qb_data_guard *guard, const struct qb_file *image,
                               const struct qb_request *rq, const struct qb_info *now,
                               struct qb_err *err);

/* No image of a fleet names another one's raw disk; that none does cannot be found out here, where
 * the paths lead to no file. */
int __wrap_qb_data_guard_check(struct qb_data_guard *guard, const struct qb_file *image,
                               const struct qb_request *rq, const struct qb_info *now,
                               struct qb_err *err)
{
    if (image->mem && qb_is_raw(now))
        return 0;
    return __real_qb_data_guard_check(guard, image, rq, now, err);
}

int __real_getrlimit64(__rlimit_resource_t what, struct rlimit *limit);
int __wrap_getrlimit64(__rlimit_resource_t what, struct rlimit *limit);

int __wrap_getrlimit64(__rlimit_resource_t what, struct rlimit *limit)
{
    if (!host || what != RLIMIT_NOFILE)
        return __real_getrlimit64(what, limit);
    limit->rlim_cur = limit->rlim_max = FDS_BESIDES + FDS_IMAGE * WAVES * host->wave_max;
    return 0;
}

/* ---- disks ----------------------------------------------------------------------------------- */

struct disks {
    struct qb_io io;
    struct qb_io *mem;
};

/* Whether the image, or the one whose data file it is, has. */
static bool has_flipped(unsigned disk)
{
    const struct qb_mem_event *events;
    size_t n = qb_mem_events(host->log, &events);

    disk = qb_mem_image_of(host->log, disk);

    for (size_t i = 0; i < n; i++)
        if (events[i].disk == disk && events[i].op == QB_OP_WRITE && events[i].offset == 0)
            return true;
    return false;
}

static bool is_pretended(const struct qb_req *req)
{
    unsigned disk = (unsigned)req->file->ino;

    if (req->op != QB_OP_SYNC || host->lie == HOST_HONEST)
        return false;
    if (host->lie == HOST_NO_DATA_BARRIER)
        return qb_mem_image_of(host->log, disk) != disk;
    return has_flipped(disk) == (host->lie == HOST_NO_SECOND_BARRIER);
}

/* Counts the request: whether it is one that fails. */
static bool is_due(struct qb_req *req)
{
    const struct host_fault *fault = &host->fault;
    uint64_t number = host->requests++;

    if (!fault->errnum || number < fault->nth || (number > fault->nth && !fault->onwards))
        return false;
    req->error = fault->errnum;
    if (host->failed)
        host->failed[qb_mem_image_of(host->log, (unsigned)req->file->ino)] |= 1u << req->op;
    return true;
}

static void run_one(struct disks *d, struct qb_req *req)
{
    if (!req->file->mem)
        req->error = req->op == QB_OP_READ ? qb_posix_do(req, 0) : EPERM;
    else if (!is_due(req) && !is_pretended(req))
        d->mem->ops->run(d->mem, req, 1);
}

/* The requests of a batch are carried out in any order. */
static void run_disks(struct qb_io *io, struct qb_req *reqs, size_t n)
{
    unsigned *order;

    host_at_work(true);
    order = host_shuffled(n);
    for (size_t i = 0; i < n; i++)
        if (!qb_req_is_void(&reqs[order[i]]))
            run_one((struct disks *)io, &reqs[order[i]]);
    free(order);
    host_at_work(false);
}

static void close_disks(struct qb_io *io)
{
    qb_io_close(((struct disks *)io)->mem);
    free(io);
}

/* It has no barrier of its own: barrier.c syncs file by file, and so does the log say it. */
struct qb_io *host_open_disks(void)
{
    static const struct qb_io_ops ops = {.name = "disks", .run = run_disks, .close = close_disks};
    struct disks *d;

    host_at_work(true);
    d = calloc(1, sizeof(*d));
    if (!d || !(d->mem = qb_io_open_mem(host->log)))
        abort();
    host_at_work(false);
    d->io.ops = &ops;
    return &d->io;
}
