/* Carries out the append epoch: writes the steps in their order, past the old image's end or in
 * room inside it.  Source tables are read again and changed as the plan says; nothing is decided
 * here. */
#include <errno.h>
#include <string.h>

#include "amend/append_parts.h"
#include "plan/new_tables.h"

#define FILLED_AT_ONCE (UINT64_C(64) << 20)
#define ZEROED_AT_ONCE (UINT64_C(16) << 30)

static int write_l1(struct qb_writer *w, struct qb_plan *plan, unsigned layer, struct qb_err *err)
{
    struct qb_layer l = qb_image_layer(plan->in.img, layer);
    uint32_t entries = qb_plan_l1_size(plan, layer);
    QB_AUTO(qb_buf) uint64_t *old = NULL;
    QB_AUTO(qb_buf) be64 *now = calloc((size_t)entries + 1, sizeof(*now));

    if (!now)
        return qb_fail_memory(err);
    if (qb_plan_converts(plan)) {
        if (qb_convert_l1(w->io, plan, layer, now, err) < 0)
            return -1;
        return qb_writer_put(w, (uint8_t *)now, 8ull * entries, plan->geom.cluster_size, err);
    }
    if (qb_image_read_l1(w->io, plan->in.img, l.l1_offset, l.l1_size, &old, err) < 0)
        return -1;
    for (uint32_t i = 0; i < entries; i++)
        now[i] = be64_of(qb_new_l1_entry(plan, layer, i, i < l.l1_size ? old[i] : 0));
    return qb_writer_put(w, (uint8_t *)now, 8ull * entries, plan->in.img->geom.cluster_size, err);
}

static int write_block(struct qb_writer *w, struct qb_plan *plan, size_t index, struct qb_err *err)
{
    unsigned order = plan->target.header.refcount_order;
    uint64_t n = qb_geom_block_entries(&plan->in.img->geom, order);
    uint8_t *slot = qb_writer_slot(w, plan->in.img->geom.cluster_size, err);

    if (!slot)
        return -1;
    qb_counts_render(&plan->census.counts, index * n, n, order, slot);
    return 0;
}

static int write_reftable(struct qb_writer *w, struct qb_plan *plan, uint64_t len,
                          struct qb_err *err)
{
    QB_AUTO(qb_buf) be64 *table = calloc(1, len);

    if (!table)
        return qb_fail_memory(err);
    for (size_t i = 0; i < plan->place.reftable_n; i++)
        table[i] = be64_of(plan->place.reftable[i]);
    return qb_writer_put(w, (uint8_t *)table, len, plan->in.img->geom.cluster_size, err);
}

/* What a rule computes, cluster by cluster. */
static int write_filled(struct qb_writer *w, struct qb_plan *plan, const struct qb_step *s,
                        struct qb_err *err)
{
    uint64_t cs = plan->in.img->geom.cluster_size;
    const struct qb_rule *rule = qb_rules[plan->contents.items[s->index].filled_by];

    for (uint64_t at = 0; at < s->len; at += cs) {
        uint8_t *slot;

        if (qb_io_go_on(w->io, err) < 0 || !(slot = qb_writer_slot(w, cs, err)))
            return -1;
        memset(slot, 0, cs);
        if (rule->fill(w->io, plan, s->index, at, slot, err) < 0)
            return -1;
    }
    return 0;
}

static int write_steps(struct qb_writer *w, struct qb_plan *plan, struct qb_err *err)
{
    size_t i = 0;
    int r = 0;

    while (r == 0 && i < plan->place.steps.n) {
        const struct qb_step *s = &plan->place.steps.items[i];
        size_t end = i + 1;

        while (end < plan->place.steps.n && plan->place.steps.items[end].kind == s->kind &&
               (s->kind == QB_STEP_TABLE || s->kind == QB_STEP_COPIES || s->kind == QB_STEP_PACKED))
            end++;
        if (qb_writer_seek(w, s->offset, err) < 0)
            return -1;
        switch (s->kind) {
        case QB_STEP_TABLE:
            r = qb_append_tables(w, plan, i, end, err);
            break;
        case QB_STEP_MOVED:
            r = qb_append_moved(w, plan, s, err);
            break;
        case QB_STEP_PIECES:
            r = qb_append_pieces(w, plan, s, err);
            break;
        case QB_STEP_PACKED:
            r = qb_append_packed(w, plan, i, end, err);
            break;
        case QB_STEP_COPIES:
            r = qb_append_copies(w, plan, i, end, err);
            break;
        case QB_STEP_L1:
            r = write_l1(w, plan, (unsigned)s->index, err);
            break;
        case QB_STEP_BYTES:
            r = qb_writer_put(w, s->bytes, s->bytes_len, plan->in.img->geom.cluster_size, err);
            break;
        case QB_STEP_FILLED:
            r = write_filled(w, plan, s, err);
            break;
        case QB_STEP_BLOCK:
            r = write_block(w, plan, s->index, err);
            break;
        case QB_STEP_REFTABLE:
            r = write_reftable(w, plan, s->len, err);
            break;
        }
        i = end;
    }
    return r < 0 ? -1 : qb_writer_flush(w, err);
}

static int set_size(struct qb_io *io, struct qb_file *file, uint64_t size, struct qb_err *err)
{
    struct qb_req req = {.file = file, .op = QB_OP_SET_SIZE, .offset = size};

    if (file->is_block_device || file->size == size || qb_io_run(io, &req, 1) == 0)
        return 0;
    return qb_io_fail(&req, "the new file size", err);
}

/* Zeroes the range in pieces, so that a request to stop need not wait for all of it. */
static int zero_by(enum qb_op op, struct qb_io *io, struct qb_range range, struct qb_file *file,
                   struct qb_req *req)
{
    uint64_t piece = op == QB_OP_FILL ? qb_io_piece(io, FILLED_AT_ONCE) : ZEROED_AT_ONCE;

    *req = (struct qb_req){.file = file, .op = op, .offset = range.first};
    for (; req->offset < range.end; req->offset += req->len) {
        req->len = QB_MIN(piece, range.end - req->offset);
        if (qb_io_run(io, req, 1))
            return -1;
    }
    return 0;
}

static int zero_range(enum qb_op op, struct qb_io *io, struct qb_range range, struct qb_file *file,
                      struct qb_err *err)
{
    struct qb_req req;

    if (zero_by(op, io, range, file, &req) == 0)
        return 0;
    /* The file system has no holes, or no ZERO_RANGE: write zeros. */
    if (op != QB_OP_FILL &&
        (req.error == EOPNOTSUPP || req.error == ENOSYS || req.error == EINVAL) &&
        zero_by(QB_OP_FILL, io, range, file, &req) == 0)
        return 0;
    return qb_io_fail(&req, "zeros", err);
}

static bool leaves_holes(const struct qb_plan *plan, const struct qb_file *file)
{
    return !file->is_block_device && plan->zeros.how <= QB_ZEROED_HOLE;
}

/* Makes the new clusters of zeros.  Where the file system has holes, lengthening the file is
 * enough, and inside the old image a hole is made. */
static int make_zeros(struct qb_io *io, struct qb_plan *plan, struct qb_file *file,
                      struct qb_err *err)
{
    enum qb_op op = plan->zeros.how == QB_ZEROED_WRITE ? QB_OP_FILL : QB_OP_ZERO;
    bool holes = leaves_holes(plan, file);

    qb_vec_each (e, &plan->zeros.extents) {
        struct qb_range range = {e->offset, e->offset + e->n * plan->geom.cluster_size};
        bool inside = e->offset < plan->place.base;

        if (inside && holes && !plan->size.reserved) {
            if (zero_range(QB_OP_PUNCH, io, range, file, err) < 0)
                return -1;
        } else if ((inside || !holes) && zero_range(op, io, range, file, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Where the file keeps its allocation, nothing was cut off: zeroes what the append leaves out
 * because it must read zero, and allocates new metadata.  The image's last cluster may have been in
 * the file in part.  The same calls lengthen the file: at no moment does it have a hole, with which
 * it would not look reserved to a run after a crash. */
static int clear_reserved(struct qb_io *io, struct qb_plan *plan, struct qb_file *file,
                          struct qb_err *err)
{
    uint64_t end = plan->place.end;
    struct qb_range range = {QB_MIN(plan->place.base, plan->size.old), plan->place.zero_base};

    if (!plan->size.reserved || !plan->rewrites || end == plan->place.base)
        return 0;
    if (plan->size.reserves_zeros || !leaves_holes(plan, file))
        range.end = end;
    else
        range.end = QB_MAX(range.end, QB_MIN(end, plan->size.old));
    return zero_range(QB_OP_ZERO, io, range, file, err);
}

static int write_name(struct qb_io *io, struct qb_plan *plan, struct qb_file *file,
                      struct qb_err *err)
{
    struct qb_req req = {.file = file,
                         .op = QB_OP_WRITE,
                         .offset = plan->sector.name_at,
                         .len = plan->sector.name_len,
                         .buf = (void *)(uintptr_t)plan->sector.name};

    if (!plan->sector.name_at || qb_io_run(io, &req, 1) == 0)
        return 0;
    return qb_io_fail(&req, "the backing file name", err);
}

static bool copies(const struct qb_plan *plan)
{
    qb_vec_each (s, &plan->place.steps)
        if (s->kind == QB_STEP_COPIES || s->kind == QB_STEP_MOVED || s->kind == QB_STEP_PIECES ||
            s->kind == QB_STEP_PACKED)
            return true;
    return false;
}

int qb_append_stretch(struct qb_io *io, struct qb_plan *plan, struct qb_writer *w,
                      struct qb_err *err)
{
    int r;

    /* Data is read into the buffer, with many requests at a time. */
    w->size = copies(plan) ? qb_io_window(io) / 2 : 2 * qb_io_slice(io);
    w->size = QB_MIN(w->size, plan->place.n_bytes);
    w->size = QB_MAX(w->size, plan->in.img->geom.cluster_size);
    w->buf = malloc(w->size);
    if (plan->in.rq->keep_undo && (w->hasher = qb_hasher_new()))
        qb_hasher_reset(w->hasher);
    if (!w->buf || (plan->in.rq->keep_undo && !w->hasher))
        r = qb_fail_memory(err);
    else
        r = write_steps(w, plan, err);
    if (r == 0 && w->hasher)
        plan->proof.stretch = qb_hasher_end(w->hasher);
    qb_hasher_free(w->hasher);
    free(w->buf);
    return r;
}

int qb_plan_append(struct qb_io *io, struct qb_plan *plan, struct qb_file *file, struct qb_err *err)
{
    struct qb_writer w = {.io = io, .file = file};

    if (plan->size.lacks)
        return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE, "the device is too small for the plan");
    /* The length comes first: what was past the image's end is cut off (or zeroed, where its space
     * is reserved), everything past it reads zero, and a file that cannot be so long fails before
     * anything is written. */
    if (set_size(io, file, plan->size.cut, err) < 0 || clear_reserved(io, plan, file, err) < 0 ||
        set_size(io, file, plan->size.appended, err) < 0 || write_name(io, plan, file, err) < 0)
        return -1;
    if (!plan->rewrites)
        return 0;
    w.sparse_from = leaves_holes(plan, file) ? plan->place.base : UINT64_MAX;
    if (qb_append_stretch(io, plan, &w, err) < 0)
        return -1;
    return make_zeros(io, plan, file, err);
}
