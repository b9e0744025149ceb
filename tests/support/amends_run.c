/* Runs an amend of a subject on the memory back end. */
#include <stdio.h>
#include <stdlib.h>

#include "amends.h"
#include "check/census.h"
#include "io/backend.h"

/* Images in memory, backing files on the real disk. */
struct mixed_io {
    struct qb_io io;
    struct qb_io *mem;
};

static void mixed_run(struct qb_io *io, struct qb_req *reqs, size_t n)
{
    struct mixed_io *m = (struct mixed_io *)io;

    for (size_t i = 0; i < n; i++) {
        if (reqs[i].file->mem)
            m->mem->ops->run(m->mem, &reqs[i], 1);
        else if (!qb_req_is_void(&reqs[i]))
            reqs[i].error = reqs[i].op == QB_OP_READ ? qb_posix_do(&reqs[i], 0) : EPERM;
    }
}

static int mixed_barrier(struct qb_io *io)
{
    struct mixed_io *m = (struct mixed_io *)io;

    return m->mem->ops->barrier(m->mem);
}

static void mixed_close(struct qb_io *io)
{
    qb_io_close(((struct mixed_io *)io)->mem);
    free(io);
}

struct qb_io *run_io(struct qb_mem_log *log)
{
    static const struct qb_io_ops ops = {"mixed", mixed_run, mixed_run, mixed_barrier, mixed_close};
    struct mixed_io *m = calloc(1, sizeof(*m));

    if (!m)
        abort();
    m->io.ops = &ops;
    m->mem = qb_io_open_mem(log);
    if (!m->mem)
        abort();
    return &m->io;
}

struct qb_mem_log *run_machine(const struct image_bytes *image)
{
    struct qb_mem_log *log = qb_mem_log_new();
    struct qb_file file;

    if (!log || qb_mem_file(log, image->bytes, image->size, &file) < 0)
        abort();
    qb_file_close(&file);
    if (image->data && qb_mem_data_file(log, 0, image->data, image->data_size) < 0)
        abort();
    if (image->reserved)
        qb_mem_reserve(log, 0);
    if (image->device)
        qb_mem_make_device(log, 0);
    if (image->holes)
        qb_mem_make_holes(log, 0);
    return log;
}

struct image_bytes run_content(const struct qb_mem_log *log, unsigned disk)
{
    unsigned data = qb_mem_data_of(log, disk);
    struct image_bytes now = {0};

    now.bytes = (uint8_t *)(uintptr_t)qb_mem_content(log, disk, &now.size);
    if (data != QB_MEM_EVERY_DISK)
        now.data = (uint8_t *)(uintptr_t)qb_mem_content(log, data, &now.data_size);
    if (data != QB_MEM_EVERY_DISK && !now.data) /* empty, and there all the same */
        now.data = now.bytes;
    return now;
}

struct qb_amend *run_open_for(struct qb_io *io, struct qb_mem_log *log, unsigned disk,
                              const struct qb_request *rq)
{
    struct qb_amend *a = qb_amend_new("/nowhere/image.qcow2");
    unsigned data = qb_mem_data_of(log, disk);
    struct qb_file file;

    if (!a || qb_mem_reopen(log, disk, &file) < 0)
        abort();
    qb_amend_expect(a, rq);
    qb_amend_open(a, io, (struct qb_claim){.writable = true}, &file);
    if (data == QB_MEM_EVERY_DISK)
        return a;
    if (qb_mem_reopen(log, data, &file) < 0)
        abort();
    qb_amend_set_data_file(a, &file);
    return a;
}

struct qb_amend *run_open(struct qb_io *io, struct qb_mem_log *log, unsigned disk)
{
    return run_open_for(io, log, disk, NULL);
}

/* With a data file, file by file, so that one which is left out shows. */
static int sync_both(struct qb_io *io, struct qb_amend *a, enum run_option how)
{
    struct qb_file *files[QB_AMEND_FILES];
    size_t n = qb_amend_dirty_files(a, files);
    int errnum = 0;

    for (size_t i = 0; i < n; i++) {
        struct qb_req req = {.file = files[i], .op = QB_OP_SYNC};

        if (i > 0 && how == RUN_WITHOUT_DATA_BARRIER)
            continue;
        if (qb_io_run(io, &req, 1) && !errnum)
            errnum = req.error;
    }
    return errnum;
}

static int barrier(struct qb_io *io, struct qb_amend *a, enum run_option how)
{
    struct qb_file *file = qb_amend_file(a);
    int errnum = 0;

    if (qb_amend_data_file(a))
        return sync_both(io, a, how);
    qb_io_barrier(io, &file, 1, QB_SYNC_FILE, &errnum);
    return errnum;
}

int run_barrier(struct qb_io *io, struct qb_amend *a)
{
    return barrier(io, a, RUN_WHOLE);
}

static int run_phases(struct qb_io *io, struct qb_amend *a, enum run_option how)
{
    int lost = 0;

    if (qb_amend_remember(a, io) < 0 || qb_amend_append(a, io) < 0)
        return -1;
    if (qb_amend_appends(a) && how != RUN_WITHOUT_FIRST_BARRIER)
        lost = barrier(io, a, how);
    if (lost) {
        qb_amend_append_lost(a, io, lost);
        return -1;
    }
    if (qb_amend_flip(a, io) < 0 || qb_amend_flipped(a, run_barrier(io, a)) < 0)
        return -1;
    if (qb_amend_verify(a, io) < 0)
        return -1;
    qb_amend_settle(a, io);
    return 0;
}

/* The first commit, and the rounds behind it.  A round that comes to nothing leaves the image as
 * the commit before it did. */
static int run_commits(struct qb_io *io, struct qb_amend *a, enum run_option how)
{
    int r;

    do
        r = run_phases(io, a, how);
    while (r == 0 && qb_amend_has_more(a) && qb_amend_again(a, io, 0) > 0);
    return qb_amend_result(a)->status == QB_STATUS_CHANGED ? 0 : -1;
}

struct run run_amend(struct qb_mem_log *log, unsigned disk, const struct qb_request *rq,
                     enum run_option how)
{
    struct qb_io *io = run_io(log);
    struct qb_amend *a = run_open_for(io, log, disk, rq);
    struct run r = {.rc = qb_amend_result(a)->status == QB_STATUS_FAILED ? -1 : 0};

    if (r.rc == 0)
        r.rc = qb_amend_plan(a, io, rq);
    if (r.rc == 0 && qb_amend_result(a)->status == QB_STATUS_WOULD_CHANGE) {
        r.appends = qb_amend_appends(a);
        r.rc = run_commits(io, a, how);
    }
    r.result = qb_amend_take_result(a);
    qb_amend_close(a);
    qb_io_close(io);
    return r;
}

void run_free(struct run *r)
{
    qb_result_clear(&r->result);
}

bool run_census(const struct image_bytes *image, uint64_t *corruptions, uint64_t *leaks, char *why,
                size_t room)
{
    struct qb_mem_log *log = run_machine(image);
    struct qb_io *io = run_io(log);
    struct qb_census c = {0};
    struct qb_image img = {0};
    struct qb_file file;
    struct qb_err err;
    bool ok;

    if (qb_mem_reopen(log, 0, &file) < 0)
        abort();
    ok = qb_image_open(io, &file, &img, &err) == 0;
    if (ok) {
        ok = qb_image_read_snapshots(io, &img, &err) == 0 &&
             qb_census_take(io, &img, 0, NULL, NULL, &c, &err) == 0;
        *corruptions = qb_census_corruptions(&c);
        *leaks = c.n_leaks;
        snprintf(why, room, "%s", ok ? c.first.code ? c.first.text : "" : err.text);
        qb_census_free(&c);
        qb_image_close(&img);
    } else {
        snprintf(why, room, "%s", err.text);
    }
    qb_file_close(&file);
    qb_io_close(io);
    qb_mem_log_free(log);
    return ok;
}
