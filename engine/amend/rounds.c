/* The rounds that follow an amend: what the first commit leaves is planned again, appended,
 * committed and verified, with barriers of its own.  An interruption or a failure before a round's
 * flip leaves the image as the round before did. */
#include <errno.h>
#include <string.h>

#include "amend/amend_state.h"

/* What is left to be done once everything else is. */
static struct qb_request rest_of(const struct qb_request *rq)
{
    struct qb_request rest = *rq;

    rest.set = QB_KEY_RECLAIM;
    rest.reclaim_zeros = false;
    return rest;
}

static int barrier(struct qb_io *io, struct qb_amend *a)
{
    struct qb_file *files[] = {&a->file};
    int error = 0;

    qb_io_barrier(io, files, 1, QB_SYNC_FILE, &error);
    return error;
}

static int prepare(struct qb_amend *a, struct qb_io *io, const struct qb_request *rq)
{
    int lost = 0;

    if (qb_amend_read_header(a, io) < 0 || qb_amend_plan(a, io, rq) < 0 ||
        a->result.status != QB_STATUS_WOULD_CHANGE || qb_amend_remember(a, io) < 0 ||
        qb_amend_append(a, io) < 0)
        return -1;
    if (qb_amend_appends(a))
        lost = barrier(io, a);
    if (lost) {
        qb_amend_append_lost(a, io, lost);
        return -1;
    }
    if (qb_io_go_on(io, &a->err) < 0) {
        qb_amend_cancel(a, io, QB_E_CANCELLED);
        return -1;
    }
    return 0;
}

/* What must not be stopped any more. */
static int commit(struct qb_amend *a, struct qb_io *io)
{
    if (qb_amend_flip(a, io) < 0 || qb_amend_flipped(a, barrier(io, a)) < 0 ||
        qb_amend_verify(a, io) < 0)
        return -1;
    qb_amend_settle(a, io);
    return 0;
}

/* The outcome of a round that was flipped is the amend's, too. */
static int take_over(struct qb_amend *a, struct qb_amend *round, int r)
{
    a->result.image_end_offset = round->result.image_end_offset;
    a->result.reclaimed_bytes += round->result.reclaimed_bytes;
    a->result.reclaim_errno = round->result.reclaim_errno;
    if (r == 0)
        return 0;
    a->err = round->err;
    memcpy(a->plan.old_sector, round->plan.old_sector, QB_SECTOR);
    memcpy(a->plan.sector.bytes, round->plan.sector.bytes, QB_SECTOR);
    a->result.verified = false;
    return qb_amend_mistrust(a);
}

/* Why a round came to nothing, as an errno. */
static int reason(const struct qb_err *why)
{
    if (why->sys_errno)
        return why->sys_errno;
    switch (why->code) {
    case QB_E_NO_SPACE:
        return ENOSPC;
    case QB_E_MEMORY:
        return ENOMEM;
    case QB_E_CHANGED: /* by another program */
        return EBUSY;
    case QB_E_IO:
        return EIO;
    default:
        return ECANCELED;
    }
}

/* A round that came to nothing: the image is as the one before left it. */
static void give_up(struct qb_amend *a, const struct qb_err *why)
{
    if (why->code == QB_E_CANCELLED) {
        a->result.status = QB_STATUS_INTERRUPTED;
        qb_fail(&a->err, QB_E_CANCELLED, QB_NOWHERE,
                "interrupted while clusters were moved: what was asked for besides is committed, "
                "and another run goes on");
    } else if (why->code != QB_E_NONE && !a->result.reclaim_errno) {
        a->result.reclaim_errno = reason(why);
    }
}

/* 1 if a round was committed, 0 if there is nothing to gain any more, or it did not come to its
 * flip; -1 if it failed after that. */
static int one_round(struct qb_amend *a, struct qb_io *io)
{
    const struct qb_request rq = rest_of(a->rq);
    struct qb_amend *round = qb_amend_new(a->path ? a->path : "");
    struct qb_stopper stop;
    int r;

    if (!round)
        return 0;
    round->file = a->file;
    round->from_disk = a->from_disk;
    r = prepare(round, io, &rq);
    if (r == 0) {
        stop = qb_io_swap_stop(io, (struct qb_stopper){NULL, NULL});
        r = commit(round, io);
        qb_io_swap_stop(io, stop);
    }
    a->file = round->file;
    round->file = (struct qb_file){.fd = -1};
    a->result.file_size_after = a->file.size;
    a->result.allocated_delta =
        (int64_t)qb_file_allocated(&a->file) - (int64_t)a->file.allocated_at_open;
    if (!round->flipped)
        give_up(a, &round->err);
    r = round->flipped ? take_over(a, round, r) : 0;
    r = r == 0 && round->flipped && round->plan.moves.n ? 1 : r;
    qb_amend_close(round);
    return r;
}

int qb_amend_rounds(struct qb_amend *a, struct qb_io *io)
{
    int r = 1;

    if (!a->rq->reclaim_compact || a->result.status != QB_STATUS_CHANGED || qb_amend_data_file(a))
        return 0;
    while (r > 0) /* each ends the image earlier than the one before */
        r = one_round(a, io);
    return r;
}
