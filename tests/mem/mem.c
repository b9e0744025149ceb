/* The memory back end: a machine whose disks are arrays, which remembers every change in order and
 * whose power can be cut at any of them (mem_replay.c).
 *
 * A request that fails by order changes nothing and leaves no event. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "io/backend.h"
#include "mem/mem_disk.h"

struct mem_io {
    struct qb_io io;
    struct qb_mem_log *log;
};

struct qb_mem_log *qb_mem_log_new(void)
{
    struct qb_mem_log *log = calloc(1, sizeof(*log));

    if (log)
        pthread_mutex_init(&log->one_at_a_time, NULL);
    return log;
}

static void disk_free(struct qb_mem_disk *disk)
{
    free(disk->now.bytes);
    free(disk->at_creation.bytes);
    free(disk);
}

void qb_mem_log_free(struct qb_mem_log *log)
{
    if (!log)
        return;
    for (size_t i = 0; i < log->disks.n; i++)
        disk_free(log->disks.items[i]);
    for (size_t i = 0; i < log->events.n; i++)
        free(log->events.items[i].bytes);
    qb_vec_free(&log->disks);
    qb_vec_free(&log->events);
    free(log);
}

int qb_mem_reopen(struct qb_mem_log *log, unsigned disk, struct qb_file *out)
{
    char path[32];
    struct qb_file file = {
        .fd = -1, .writable = true, .ino = disk, .uid = geteuid(), .gid = getegid()};

    snprintf(path, sizeof(path), "mem:%u", disk);
    file.path = strdup(path);
    if (!file.path)
        return -1;
    file.mem = log->disks.items[disk];
    file.mem_reserved = file.mem->reserved;
    file.is_block_device = file.mem->is_device;
    file.size = file.allocated_at_open = file.mem->now.size;
    *out = file;
    return 0;
}

static int add_disk(struct qb_mem_log *log, const void *content, uint64_t size)
{
    struct qb_mem_disk *disk = calloc(1, sizeof(*disk));

    if (!disk)
        return -1;
    disk->number = disk->image = (unsigned)log->disks.n;
    disk->data = QB_MEM_EVERY_DISK;
    if (qb_mem_bytes_write(&disk->now, 0, content, size) ||
        qb_mem_bytes_write(&disk->at_creation, 0, content, size) ||
        !qb_vec_push(&log->disks, disk)) {
        disk_free(disk);
        return -1;
    }
    return 0;
}

int qb_mem_file(struct qb_mem_log *log, const void *content, uint64_t size, struct qb_file *out)
{
    if (add_disk(log, content, size) < 0)
        return -1;
    return qb_mem_reopen(log, (unsigned)log->disks.n - 1, out);
}

int qb_mem_data_file(struct qb_mem_log *log, unsigned image, const void *content, uint64_t size)
{
    if (add_disk(log, content, size) < 0)
        return -1;
    log->disks.items[image]->data = (unsigned)log->disks.n - 1;
    log->disks.items[log->disks.n - 1]->image = image;
    return 0;
}

unsigned qb_mem_data_of(const struct qb_mem_log *log, unsigned image)
{
    return log->disks.items[image]->data;
}

unsigned qb_mem_image_of(const struct qb_mem_log *log, unsigned disk)
{
    return log->disks.items[disk]->image;
}

void qb_mem_reserve(struct qb_mem_log *log, unsigned disk)
{
    log->disks.items[disk]->reserved = true;
}

void qb_mem_make_device(struct qb_mem_log *log, unsigned disk)
{
    log->disks.items[disk]->is_device = true;
}

void qb_mem_make_holes(struct qb_mem_log *log, unsigned disk)
{
    log->disks.items[disk]->has_holes = true;
}

void qb_mem_fail(struct qb_mem_log *log, uint64_t nth, int errnum, bool onwards)
{
    log->countdown = nth;
    log->fault = errnum;
    log->fault_stays = onwards;
}

/* Counts one request: 0, or the errno it is to fail with. */
static int fault_due(struct qb_mem_log *log)
{
    int errnum = log->fault;

    if (!errnum)
        return 0;
    if (log->countdown) {
        log->countdown--;
        return 0;
    }
    if (!log->fault_stays)
        log->fault = 0;
    return errnum;
}

size_t qb_mem_events(const struct qb_mem_log *log, const struct qb_mem_event **events)
{
    *events = log->events.items;
    return log->events.n;
}

const unsigned char *qb_mem_content(const struct qb_mem_log *log, unsigned disk, uint64_t *size)
{
    *size = log->disks.items[disk]->now.size;
    return log->disks.items[disk]->now.bytes;
}

static int mem_read(const struct qb_mem_bytes *c, const struct qb_req *req)
{
    if (!qb_range_ok(req->offset, req->len, 1, c->size))
        return ENODATA;
    memcpy(req->buf, c->bytes + req->offset, req->len);
    return 0;
}

static int change(struct qb_mem_log *log, const struct qb_req *req)
{
    QB_AUTO(qb_buf) unsigned char *bytes = NULL;
    struct qb_mem_disk *disk = req->file->mem;
    int errnum;

    if (disk->is_device && !qb_range_ok(req->offset, req->len, 1, disk->now.size))
        return ENOSPC;
    if (req->op == QB_OP_WRITE) {
        bytes = malloc(req->len);
        if (!bytes)
            return ENOMEM;
        memcpy(bytes, req->buf, req->len);
    }
    if (!qb_vec_room(&log->events.items, log->events.n, &log->events.cap,
                     sizeof(*log->events.items)))
        return ENOMEM;
    errnum = qb_mem_bytes_apply(&disk->now, req->op, req->offset, req->len, bytes);
    if (errnum)
        return errnum;
    log->events.items[log->events.n++] = (struct qb_mem_event){
        .op = req->op,
        .disk = disk->number,
        .offset = req->offset,
        .len = req->len,
        .bytes = qb_take(&bytes),
    };
    return 0;
}

static int run_one(struct qb_mem_log *log, const struct qb_req *req)
{
    int errnum;

    if (!req->file->mem)
        return EBADF;
    errnum = fault_due(log);
    if (errnum)
        return errnum;
    if (req->op == QB_OP_READ)
        return mem_read(&req->file->mem->now, req);
    return change(log, req);
}

/* Threads that read for one worker count in one log. */
static void mem_run(struct qb_io *io, struct qb_req *reqs, size_t n)
{
    struct mem_io *m = (struct mem_io *)io;

    pthread_mutex_lock(&m->log->one_at_a_time);
    for (size_t i = 0; i < n; i++) {
        if (!qb_req_is_void(&reqs[i]))
            reqs[i].error = run_one(m->log, &reqs[i]);
    }
    pthread_mutex_unlock(&m->log->one_at_a_time);
}

static int mem_barrier(struct qb_io *io)
{
    struct qb_mem_log *log = ((struct mem_io *)io)->log;
    const struct qb_mem_event barrier = {.op = QB_OP_SYNC, .disk = QB_MEM_EVERY_DISK};
    int errnum = fault_due(log);

    if (!errnum && !qb_vec_push(&log->events, barrier))
        errnum = ENOMEM;
    return errnum;
}

static void mem_close(struct qb_io *io)
{
    free(io);
}

static const struct qb_io_ops mem_ops = {
    .name = "mem",
    .run = mem_run,
    .run_part = mem_run,
    .barrier = mem_barrier,
    .close = mem_close,
};

struct qb_io *qb_io_open_mem(struct qb_mem_log *log)
{
    struct mem_io *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    m->io.ops = &mem_ops;
    m->log = log;
    return &m->io;
}
