/* Carries out the epochs of an amend, in their order: append, flip, verify, settle. */
#include <string.h>

#include "amend/as_found.h"
#include "amend/rounds.h"
#include "amend/trim.h"
#include "amend/verify.h"
#include "base/clock.h"

/* What the append wrote inside the old image lies where nothing is: the file has holes there again.
 * A file that keeps its allocation keeps it there, too. */
static void punch_room(struct qb_amend *a, struct qb_io *io)
{
    if (a->file.is_block_device || a->plan.size.reserved || !qb_file_keeps_size(&a->file))
        return;
    a->file.guard.phase = QB_PHASE_SETTLE; /* which a request to stop does not end */
    qb_vec_each (r, &a->plan.place.room)
        qb_io_run(
            io,
            &(struct qb_req){
                .file = &a->file, .op = QB_OP_PUNCH, .offset = r->first, .len = r->end - r->first},
            1);
}

/* Restores the file's length: what the append wrote lies past the old image's end.  If another
 * process has changed the length, the file is left alone. */
static void cut_tail(struct qb_amend *a, struct qb_io *io)
{
    struct qb_req req = {.file = &a->file, .op = QB_OP_SET_SIZE, .offset = a->plan.size.old};

    if (!a->file.is_block_device && a->file.size != a->plan.size.old &&
        qb_file_keeps_size(&a->file))
        qb_io_run(io, &req, 1);
    a->file.guard = (struct qb_guard){.phase = QB_PHASE_READ};
    a->result.file_size_after = a->file.size;
    qb_data_restore(io, &a->plan);
}

int qb_amend_remember(struct qb_amend *a, struct qb_io *io)
{
    double start = qb_now();
    int r = 0;

    if (a->round)
        return qb_amend_remember(a->round, io) < 0 ? qb_round_failed(a) : 0;
    if (a->rq->verify == QB_VERIFY_CONTENT)
        r = qb_verify_remember(io, &a->plan, &a->content, &a->err);
    a->result.verify_seconds += qb_now() - start;
    return r < 0 ? qb_amend_failed(a) : 0;
}

int qb_amend_append(struct qb_amend *a, struct qb_io *io)
{
    double start = qb_now();
    struct qb_plan *p = &a->plan;
    int r = 0;

    if (a->round)
        return qb_amend_append(a->round, io) < 0 ? qb_round_failed(a) : 0;
    a->file.guard = (struct qb_guard){
        .phase = QB_PHASE_APPEND,
        .allowed = p->append_ranges.items,
        .n_allowed = p->append_ranges.n,
        .min_size = QB_MIN(p->size.old, p->size.cut),
    };
    if (p->appends)
        r = qb_data_append(io, p, &a->err);
    if (p->appends && r == 0)
        r = qb_plan_append(io, p, &a->file, &a->err);
    a->result.write_seconds += qb_now() - start;
    if (r < 0) {
        punch_room(a, io);
        cut_tail(a, io);
        qb_trim_note(&a->file, a->plan.size.old, &a->err);
        return qb_amend_failed(a);
    }
    return 0;
}

void qb_amend_append_lost(struct qb_amend *a, struct qb_io *io, int errnum)
{
    if (a->round) {
        qb_amend_append_lost(a->round, io, errnum);
        qb_round_failed(a);
        return;
    }
    qb_fail_sys(&a->err, errnum, QB_NOWHERE, "the appended metadata did not reach the disk");
    punch_room(a, io);
    cut_tail(a, io);
    qb_amend_failed(a);
}

void qb_amend_cancel(struct qb_amend *a, struct qb_io *io, enum qb_code why)
{
    if (a->round) {
        qb_amend_cancel(a->round, io, why);
        qb_round_failed(a);
        return;
    }
    if (a->have_plan && a->file.guard.phase == QB_PHASE_APPEND) {
        punch_room(a, io);
        cut_tail(a, io);
    }
    qb_fail(&a->err, why, QB_NOWHERE,
            why == QB_E_TIMEOUT ? "the time limit ran out before the image was changed"
                                : "interrupted before the image was changed");
    qb_amend_failed(a);
    a->result.status = QB_STATUS_INTERRUPTED;
}

/* Checks that the path still leads to this file, and that its length and header have not changed;
 * a data file that the new header names, and that no barrier covers, is made durable. */
static int still_ours(struct qb_amend *a, struct qb_io *io)
{
    struct qb_err *err = &a->err;
    uint8_t sector[QB_SECTOR];
    bool same_size;

    if (!qb_file_still_there_as_long(&a->file, &same_size))
        return qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "another file took the image's place");
    if (!same_size)
        return qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "something else changed the image's length");
    if (qb_data_check_ours(&a->plan, err) < 0)
        return -1;
    if (a->plan.target.data_name_changes && !a->plan.data.writes && qb_data_is_open(&a->plan) &&
        qb_data_sync(io, &a->data, err) < 0)
        return -1;
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

    if (a->round)
        return qb_amend_flip(a->round, io) < 0 ? qb_round_failed(a) : 0;
    if (still_ours(a, io) < 0) {
        if (a->err.code != QB_E_CHANGED) /* another writer may have taken what was free */
            punch_room(a, io);
        cut_tail(a, io);
        return qb_amend_failed(a);
    }
    a->file.guard = (struct qb_guard){.phase = QB_PHASE_FLIP};
    a->data.guard = (struct qb_guard){.phase = QB_PHASE_READ};
    a->flipped = true;
    a->result.header_sent = true;
    if (qb_io_run(io, &req, 1)) {
        qb_io_fail(&req, "the header", &a->err);
        a->file.guard.phase = QB_PHASE_READ;
        return qb_amend_failed(a);
    }
    a->result.write_seconds += qb_now() - start;
    return 0;
}

bool qb_amend_has_flipped(const struct qb_amend *a)
{
    return a->flipped;
}

bool qb_amend_may_be_unsynced(const struct qb_amend *a)
{
    return a->result.status == QB_STATUS_UNCHANGED && qb_file_may_be_unsynced(&a->file);
}

static int not_durable(struct qb_amend *a, int errnum, const char *what)
{
    qb_fail_sys(&a->err, errnum, QB_NOWHERE, "%s, but whether the disk has it is unknown", what);
    a->err.code = QB_E_DURABILITY;
    return qb_amend_failed(a);
}

int qb_amend_found(struct qb_amend *a, int errnum)
{
    return errnum ? not_durable(a, errnum, "the image is as asked") : 0;
}

int qb_amend_flipped(struct qb_amend *a, int errnum)
{
    if (a->round)
        return qb_amend_flipped(a->round, errnum) < 0 ? qb_round_failed(a) : 0;
    a->file.guard.phase = QB_PHASE_READ;
    if (errnum)
        return not_durable(a, errnum, "the amend was written");
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

int qb_amend_mistrust(struct qb_amend *a)
{
    note_space(a);
    if (a->err.code == QB_E_VERIFY) {
        a->result.old_sector = a->plan.old_sector;
        a->result.new_sector = a->plan.sector.bytes;
    }
    return qb_amend_failed(a);
}

void qb_amend_verify_from_disk(struct qb_amend *a)
{
    qb_amend_now(a)->from_disk = true;
}

int qb_amend_verify(struct qb_amend *a, struct qb_io *io)
{
    double start = qb_now();
    bool content = a->rq->verify == QB_VERIFY_CONTENT;
    struct qb_verify_header how = {.direct = content || a->from_disk};
    int r;

    if (a->round)
        return qb_amend_verify(a->round, io) < 0 ? qb_round_failed(a) : 0;
    if (a->rq->verify == QB_VERIFY_NONE)
        return 0;
    r = qb_verify_amended(io, &a->plan, &a->file, &a->after, content ? &a->content : NULL, &how,
                          &a->err);
    a->result.header_from_disk = how.from_disk;
    a->result.header_wrong = how.wrong;
    qb_content_free(&a->content);
    a->result.verify_seconds += qb_now() - start;
    a->result.verified = r == 0;
    return r < 0 ? qb_amend_mistrust(a) : 0;
}

void qb_amend_as_found(struct qb_amend *a, struct qb_io *io, struct qb_digest *out)
{
    struct qb_err ignored = {0};

    *out = (struct qb_digest){0};
    if (a->result.committed && a->err.code == QB_E_VERIFY &&
        !(a->file.is_block_device && a->img.raw))
        qb_as_found(io, &a->file, out, &ignored);
}

#define PUNCHES_AT_ONCE 64u

/* What could not be given back is no fault of the image, which is as asked otherwise. */
static void not_given_back(struct qb_amend *a, int errnum)
{
    uint64_t before = a->file.allocated_at_open, now = qb_file_allocated(&a->file);

    a->result.reclaim_errno = errnum;
    a->result.reclaimed_bytes = a->file.is_block_device || now > before ? 0 : before - now;
}

static int first_error(const struct qb_req *reqs)
{
    while (!reqs->error)
        reqs++;
    return reqs->error;
}

/* On a file system without holes, or a device that discards nothing, QEMU can reuse the clusters
 * all the same.  Returns 0 or an errno. */
static int punch(struct qb_amend *a, struct qb_io *io)
{
    const struct qb_range *ranges = a->plan.freed.punches.items; /* NULL where there are none */
    struct qb_req reqs[PUNCHES_AT_ONCE];
    size_t failed = 0;

    for (size_t i = 0; i < a->plan.freed.punches.n && !failed;) {
        size_t n = 0;

        for (; n < PUNCHES_AT_ONCE && i < a->plan.freed.punches.n; n++, i++)
            reqs[n] = (struct qb_req){.file = &a->file,
                                      .op = QB_OP_PUNCH,
                                      .offset = ranges[i].first,
                                      .len = ranges[i].end - ranges[i].first};
        failed = qb_io_run(io, reqs, n);
    }
    return failed ? first_error(reqs) : 0;
}

bool qb_amend_frees(struct qb_amend *a)
{
    const struct qb_amend *now = qb_amend_now(a);

    return now->plan.freed.punches.n > 0 || now->plan.size.final < now->file.size;
}

void qb_amend_settle(struct qb_amend *a, struct qb_io *io)
{
    struct qb_plan *p = &a->plan;
    struct qb_req size = {.file = &a->file, .op = QB_OP_SET_SIZE, .offset = p->size.final};
    bool grows = p->size.final > a->file.size;
    int not_cut = 0, not_punched = 0;

    if (a->round) {
        qb_amend_settle(a->round, io);
        return;
    }
    a->file.guard = (struct qb_guard){
        .phase = QB_PHASE_SETTLE,
        .allowed = p->freed.punches.items,
        .n_allowed = p->freed.punches.n,
        .min_size = QB_MIN(p->size.appended, p->size.final),
    };
    if (p->size.final != a->file.size || p->reclaim.past_end)
        not_cut = qb_io_run(io, &size, 1) ? size.error : 0;
    if (grows && p->reclaim.past_end)
        qb_io_run(io, &size, 1); /* a file that grows keeps what it has past its end */
    if (!a->file.is_block_device || p->reclaim.asked)
        not_punched = punch(a, io);
    if (p->reclaim.asked && (not_cut || not_punched))
        not_given_back(a, not_cut ? not_cut : not_punched);
    a->file.guard = (struct qb_guard){.phase = QB_PHASE_READ};
    qb_data_settle(io, p);
    note_space(a);
}

void qb_amend_cut_data(struct qb_amend *a, struct qb_io *io)
{
    struct qb_file *data = qb_amend_data_file(a);
    struct qb_req cut = {.file = &a->data, .op = QB_OP_SET_SIZE};
    struct qb_err ignored = {0};

    if (!data || !data->writable) {
        qb_file_close(&a->data);
        a->data.fd = -1;
        if (qb_data_claim(io, &a->file, a->result.after->data_file, a->rq->without_locks, &a->data,
                          &ignored) < 0)
            return;
    }
    cut.offset = a->result.after->virtual_size;
    a->data.guard = (struct qb_guard){.phase = QB_PHASE_SETTLE, .min_size = cut.offset};
    if (!a->data.is_block_device && a->data.size > cut.offset)
        qb_io_run(io, &cut, 1);
    a->data.guard = (struct qb_guard){.phase = QB_PHASE_READ};
}
