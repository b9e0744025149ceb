/* The rounds that follow an amend: what one commit leaves is planned again, and goes through the
 * same epochs as the first.  A round is an amend of its own that has the image's file meanwhile;
 * the calls of amend.h for one that is in a round are passed on to it.  An interruption or a
 * failure before a round's flip leaves the image as the round before did. */
#include "amend/rounds.h"

#include <errno.h>
#include <string.h>

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
static void came_to_nothing(struct qb_amend *a, const struct qb_err *why)
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

/* The outcome of a round that was flipped is the amend's, too. */
static void take_over(struct qb_amend *a, const struct qb_amend *round)
{
    a->result.image_end_offset = round->result.image_end_offset;
    a->result.reclaimed_bytes += round->result.reclaimed_bytes;
    a->result.moved_bytes += round->result.moved_bytes;
    a->result.reclaim_errno = round->result.reclaim_errno;
    if (round->result.status == QB_STATUS_CHANGED)
        return;
    a->err = round->err;
    memcpy(a->plan.old_sector, round->plan.old_sector, QB_SECTOR);
    memcpy(a->plan.sector.bytes, round->plan.sector.bytes, QB_SECTOR);
    a->result.verified = false;
    qb_amend_mistrust(a);
}

static struct qb_amend *take_file_back(struct qb_amend *a)
{
    struct qb_amend *round = qb_take(&a->round);

    a->file = round->file;
    a->data = round->data;
    round->file = round->data = (struct qb_file){.fd = -1};
    return round;
}

static void end_round(struct qb_amend *a)
{
    struct qb_amend *round = take_file_back(a);

    a->result.file_size_after = a->file.size;
    a->result.allocated_delta =
        (int64_t)qb_file_allocated(&a->file) - (int64_t)a->file.allocated_at_open;
    a->result.plan_seconds += round->result.open_seconds + round->result.plan_seconds;
    a->result.write_seconds += round->result.write_seconds;
    a->result.verify_seconds += round->result.verify_seconds;
    if (round->flipped)
        take_over(a, round);
    else
        came_to_nothing(a, &round->err);
    a->more = round->flipped && round->result.status == QB_STATUS_CHANGED && round->plan.moves.from;
    qb_amend_close(round);
}

int qb_round_failed(struct qb_amend *a)
{
    if (a->round)
        end_round(a);
    return -1;
}

void qb_round_drop(struct qb_amend *a)
{
    if (a->round)
        qb_amend_close(take_file_back(a));
}

void qb_amend_give_up(struct qb_amend *a, struct qb_io *io, const struct qb_err *why)
{
    qb_amend_cancel(a->round, io, why->code);
    a->round->err = *why;
    end_round(a);
}

void qb_amend_interrupt(struct qb_amend *a, struct qb_io *io)
{
    if (a->round)
        qb_amend_cancel(a, io, QB_E_CANCELLED);
    else
        came_to_nothing(a, &(struct qb_err){.code = QB_E_CANCELLED});
    a->more = false;
}

bool qb_amend_has_more(struct qb_amend *a)
{
    if (a->round) {
        end_round(a);
    } else if (a->rq != &a->rest) { /* what is left to be done once everything else is */
        a->rest = *a->rq;
        a->rest.set = QB_KEY_RECLAIM;
        a->rest.reclaim_zeros = false;
        a->more = a->rest.reclaim_compact && a->result.status == QB_STATUS_CHANGED;
        a->rq = a->plan.in.rq = &a->rest;
        if (!a->plan.moves.from) /* it was foreseen */
            a->result.moved_bytes = 0;
    }
    return a->more;
}

int qb_amend_again(struct qb_amend *a, struct qb_io *io, uint64_t memory_limit)
{
    struct qb_amend *round = qb_amend_new(a->path ? a->path : "");
    uint64_t usual = a->rest.memory_limit;
    bool lacks_memory;
    int r = -1;

    if (a->result.reclaim_errno == ENOMEM) /* of an earlier try */
        a->result.reclaim_errno = 0;
    if (!round) {
        a->result.reclaim_errno = ENOMEM;
        return -1;
    }
    a->round = round;
    round->file = a->file;
    round->data = a->data;
    a->file = a->data = (struct qb_file){.fd = -1};
    a->rest.memory_limit = memory_limit;
    if (qb_amend_read_header(round, io) == 0)
        r = qb_amend_plan(round, io, &a->rest);
    a->rest.memory_limit = usual;
    if (r == 0 && round->result.status == QB_STATUS_WOULD_CHANGE)
        return 1;
    lacks_memory = r < 0 && round->err.code == QB_E_MEMORY;
    end_round(a);
    return lacks_memory ? -1 : 0;
}

enum qb_status qb_amend_status(const struct qb_amend *a)
{
    return a->result.status;
}
