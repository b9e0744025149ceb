/* An undo: what it is made of, and its writes. */
#include <string.h>

#include "undo/undo_state.h"
#include "base/own.h"
#include "base/result.h"
#include "qcow2/disk.h"
#include "opener/look.h"

struct qb_undo *qb_undo_new(const char *path)
{
    struct qb_undo *u = calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->file.fd = u->data.fd = u->old_data.fd = -1;
    u->cut_to = UINT64_MAX;
    u->result.status = QB_STATUS_FAILED;
    u->path = strdup(path);
    if (!u->path)
        free(qb_take(&u));
    return u;
}

void qb_undo_close(struct qb_undo *u)
{
    if (!u)
        return;
    qb_file_close(&u->old_data);
    qb_file_close(&u->data);
    qb_file_close(&u->file);
    qb_result_clear(&u->result);
    free(u->path);
    free(u);
}

void qb_undo_give_file(struct qb_undo *u, struct qb_file *file)
{
    u->file = *file;
    *file = (struct qb_file){.fd = -1};
}

struct qb_file *qb_undo_file(struct qb_undo *u)
{
    return &u->file;
}

struct qb_result *qb_undo_result(struct qb_undo *u)
{
    u->result.io = u->file.stats;
    u->result.err = qb_failure_of(&u->err);
    return &u->result;
}

struct qb_result qb_undo_take_result(struct qb_undo *u)
{
    struct qb_result result = *qb_undo_result(u);

    qb_result_own(&result);
    u->result = (struct qb_result){.status = result.status};
    return result;
}

struct qb_err *qb_undo_err(struct qb_undo *u)
{
    return &u->err;
}

bool qb_undo_is_done(const struct qb_undo *u)
{
    return u->done;
}

int qb_undo_failed(struct qb_undo *u)
{
    u->result.status = QB_STATUS_FAILED;
    u->result.after = NULL;
    return -1;
}

/* ---- writes below ---------------------------------------------------------------------------- */

int qb_undo_flip(struct qb_undo *u, struct qb_io *io)
{
    uint8_t sector[QB_SECTOR];
    struct qb_req req = {
        .file = &u->file, .op = QB_OP_WRITE, .offset = 0, .len = QB_SECTOR, .buf = sector};
    int r;

    if (u->flipped)
        return 0;
    r = qb_undo_look_at_sector(u, io);
    if (r == 0)
        r = qb_file_still_there(&u->file)
                ? qb_undo_is_unwritten(u)
                : qb_undo_changed_since(u, "another file took the image's place");
    else if (r > 0)
        r = qb_undo_changed_since(u, "the image's header was written");
    if (r < 0)
        return qb_undo_failed(u);
    memcpy(sector, u->facts.old_sector, QB_SECTOR);
    u->file.guard = (struct qb_guard){.phase = QB_PHASE_FLIP};
    if (qb_io_run(io, &req, 1))
        r = qb_io_fail(&req, "the header", &u->err);
    u->file.guard = (struct qb_guard){.phase = QB_PHASE_READ};
    u->flipped = r == 0;
    return r < 0 ? qb_undo_failed(u) : 0;
}

static int cut_appended(struct qb_undo *u, struct qb_io *io)
{
    struct qb_req cut = {.file = &u->file, .op = QB_OP_SET_SIZE, .offset = u->cut_to};
    uint64_t before = u->file.size;

    if (u->cut_to >= before)
        return 0;
    u->file.guard = (struct qb_guard){.phase = QB_PHASE_SETTLE, .min_size = u->cut_to};
    qb_io_run(io, &cut, 1);
    u->file.guard = (struct qb_guard){.phase = QB_PHASE_READ};
    u->result.tail_given_back = before - QB_MIN(u->file.size, before);
    u->result.file_size_after = u->file.size;
    if (!cut.error)
        return 0;
    qb_fail_sys(&u->err, cut.error, u->cut_to,
                "the image is as it was, but what had been appended could not be cut off; "
                "the next undo tries again");
    return -1;
}

int qb_undo_not_durable(struct qb_undo *u, int errnum)
{
    qb_fail_sys(&u->err, errnum, QB_NOWHERE,
                "the old header was written, but whether the disk has it is unknown");
    u->err.code = QB_E_DURABILITY;
    return qb_undo_failed(u);
}

int qb_undo_flipped(struct qb_undo *u, struct qb_io *io, int errnum)
{
    int r;

    if (errnum)
        return qb_undo_not_durable(u, errnum);
    if (qb_undo_look_at_sector(u, io) != 1) {
        qb_fail(&u->err, QB_E_VERIFY, 0, "the header on disk is not the one that was written");
        return qb_undo_failed(u);
    }
    u->done = true;
    u->result.verified = true;
    r = cut_appended(u, io);
    u->result.allocated_delta =
        (int64_t)qb_file_allocated(&u->file) - (int64_t)u->file.allocated_at_open;
    if (r < 0)
        return qb_undo_failed(u);
    u->result.status = QB_STATUS_CHANGED;
    return 0;
}
