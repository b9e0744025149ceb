#include "amend/undo.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "check/census.h"
#include "io/reserve.h"
#include "qcow2/refcount.h"

struct qb_undo {
    char *path;
    struct qb_file file;
    struct qb_undo_facts facts;
    struct qb_result result;
};

struct qb_undo *qb_undo_new(const char *path)
{
    struct qb_undo *u = calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->file.fd = -1;
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
    qb_file_close(&u->file);
    free(u->path);
    free(u);
}

struct qb_file *qb_undo_file(struct qb_undo *u)
{
    return &u->file;
}

struct qb_result *qb_undo_result(struct qb_undo *u)
{
    u->result.io = u->file.stats;
    return &u->result;
}

static int failed(struct qb_undo *u)
{
    u->result.status = QB_STATUS_FAILED;
    u->result.after.valid = false;
    return -1;
}

/* ---- may it be undone? ----------------------------------------------------------------------- */

static int open_file(struct qb_undo *u, struct qb_io *io, struct qb_claim how)
{
    int r = qb_file_claim(io, u->path, how, &u->file, &u->result.err);

    u->result.file_size_before = u->result.file_size_after = u->file.size;
    u->result.without_locks = u->file.without_locks;
    u->result.writers_unseen = u->file.writers_unseen;
    return r;
}

static int changed_since(struct qb_undo *u, const char *what)
{
    return qb_fail(&u->result.err, QB_E_CHANGED, QB_NOWHERE,
                   "%s since the run amended it; an undo would lose what was written", what);
}

/* The clock of a file ticks with every write, also with one to a cluster that both headers share:
 * what a guest wrote is never taken from it. */
static int unwritten(struct qb_undo *u)
{
    struct stat st;
    uint64_t mtime_ns;

    if (fstat(u->file.fd, &st) < 0)
        return qb_fail_sys(&u->result.err, errno, QB_NOWHERE, "cannot look at the file");
    mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
    if (u->file.is_block_device || st.st_ino != u->facts.ino)
        return changed_since(u, "another file took the image's place");
    if ((uint64_t)st.st_size != u->facts.length)
        return changed_since(u, "the file's length has changed");
    if (mtime_ns != u->facts.mtime_ns)
        return changed_since(u, "the image was written");
    return 0;
}

/* 0 when the amended header stands there, or the wrong one that the amend left, 1 when the old one does. */
static int look_at_sector(struct qb_undo *u, struct qb_io *io)
{
    struct qb_err *err = &u->result.err;
    uint8_t sector[QB_SECTOR];

    if (qb_io_read(io, &u->file, 0, sector, QB_SECTOR, "the header", err) < 0)
        return -1;
    if (memcmp(sector, u->facts.old_sector, QB_SECTOR) == 0)
        return 1;
    if (memcmp(sector, u->facts.new_sector, QB_SECTOR) != 0 && !u->facts.header_wrong)
        return changed_since(u, "the image's header was written");
    return 0;
}

/* The image as it would be: no table of it may be damaged.  A dirty one was so before, and its
 * refcounts may be anything. */
static int count_old(struct qb_undo *u, struct qb_io *io, struct qb_image *img)
{
    struct qb_err *err = &u->result.err;
    struct qb_census c;
    int r = qb_image_read_snapshots(io, img, err);
    bool dirty = u->result.after.dirty;

    if (r < 0)
        return -1;
    r = qb_census_take(io, img, u->facts.memory_limit, NULL, NULL, &c, err);
    if (r == 0 && (dirty ? qb_census_is_broken(&c) : qb_census_corruptions(&c) > 0))
        r = qb_fail(err, QB_E_CHANGED, c.first.offset,
                    "what the old header refers to is not whole any more: %.200s", c.first.text);
    if (r == 0 && c.end > u->file.size && c.end > qb_round_up(u->file.size, img->geom.cluster_size))
        r = qb_fail(err, QB_E_CHANGED, QB_NOWHERE, "the old image ends behind the file's end");
    qb_census_free(&c);
    return r;
}

static int look_at_images(struct qb_undo *u, struct qb_io *io)
{
    struct qb_err *err = &u->result.err;
    struct qb_image img;
    int r;

    if (qb_image_open_as(io, &u->file, u->facts.header_wrong ? u->facts.new_sector : NULL, &img,
                         err) < 0)
        return -1;
    qb_image_info(&img, &u->result.before);
    qb_image_close(&img);
    if (qb_image_open_as(io, &u->file, u->facts.old_sector, &img, err) < 0)
        return -1;
    qb_image_info(&img, &u->result.after);
    r = count_old(u, io, &img);
    qb_image_close(&img);
    return r;
}

static int check(struct qb_undo *u, struct qb_io *io)
{
    int r = look_at_sector(u, io);

    if (r < 0)
        return -1;
    u->result.status = QB_STATUS_UNCHANGED;
    if (r > 0)
        return 0;
    if (unwritten(u) < 0 || look_at_images(u, io) < 0)
        return -1;
    u->result.status = QB_STATUS_WOULD_CHANGE;
    return 0;
}

int qb_undo_check(struct qb_undo *u, struct qb_io *io, const struct qb_undo_facts *facts,
                  struct qb_claim how)
{
    u->facts = *facts;
    return open_file(u, io, how) < 0 || check(u, io) < 0 ? failed(u) : 0;
}

/* ---- writes below ---------------------------------------------------------------------------- */

int qb_undo_flip(struct qb_undo *u, struct qb_io *io)
{
    uint8_t sector[QB_SECTOR];
    struct qb_req req = {
        .file = &u->file, .op = QB_OP_WRITE, .offset = 0, .len = QB_SECTOR, .buf = sector};
    int r = look_at_sector(u, io);

    if (r == 0 && !qb_file_still_there(&u->file))
        r = changed_since(u, "another file took the image's place");
    if (r == 0)
        r = unwritten(u);
    if (r != 0)
        return failed(u);
    memcpy(sector, u->facts.old_sector, QB_SECTOR);
    u->file.guard = (struct qb_guard){.phase = QB_PHASE_FLIP};
    if (qb_io_run(io, &req, 1))
        r = qb_io_fail(&req, "the header", &u->result.err);
    u->file.guard = (struct qb_guard){.phase = QB_PHASE_READ};
    return r < 0 ? failed(u) : 0;
}

/* What the amend appended lies behind the old file's end; the old image was counted, and ends
 * before that. */
static void cut_appended(struct qb_undo *u, struct qb_io *io)
{
    struct qb_req cut = {.file = &u->file, .op = QB_OP_SET_SIZE, .offset = u->facts.old_length};

    if (u->file.size > u->facts.old_length) {
        u->file.guard =
            (struct qb_guard){.phase = QB_PHASE_SETTLE, .min_size = u->facts.old_length};
        qb_io_run(io, &cut, 1);
        u->file.guard = (struct qb_guard){.phase = QB_PHASE_READ};
    }
    u->result.tail_given_back = u->facts.length - QB_MIN(u->file.size, u->facts.length);
    u->result.file_size_after = u->file.size;
    u->result.allocated_delta =
        (int64_t)qb_file_allocated(&u->file) - (int64_t)u->file.allocated_at_open;
}

int qb_undo_flipped(struct qb_undo *u, struct qb_io *io, int errnum)
{
    if (errnum) {
        qb_fail_sys(&u->result.err, errnum, QB_NOWHERE,
                    "the old header was written, but whether the disk has it is unknown");
        u->result.err.code = QB_E_DURABILITY;
        return failed(u);
    }
    if (look_at_sector(u, io) != 1) {
        qb_fail(&u->result.err, QB_E_VERIFY, 0,
                "the header on disk is not the one that was written");
        return failed(u);
    }
    u->result.status = QB_STATUS_CHANGED;
    u->result.verified = true;
    cut_appended(u, io);
    return 0;
}

/* ---- giving the space back instead ----------------------------------------------------------- */

typedef QB_VEC(struct qb_range) ranges;

static bool add(ranges *free_ranges, uint64_t first, uint64_t end)
{
    if (free_ranges->n && free_ranges->items[free_ranges->n - 1].end == first) {
        free_ranges->items[free_ranges->n - 1].end = end;
        return true;
    }
    return first >= end || qb_vec_push(free_ranges, (struct qb_range){first, end});
}

/* Clusters below `end` that nothing names and whose refcounts are not wrong, as bytes.  A leak has
 * a refcount: it stays what it is. */
static int find_free(struct qb_census *c, uint64_t end, ranges *out, struct qb_err *err)
{
    uint64_t cs = c->img->geom.cluster_size, n = end / cs;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t next = QB_MIN(qb_counts_next(&c->counts, i), qb_counts_next(&c->surplus, i));

        if (qb_counts_get(&c->counts, i) > 0 || qb_counts_get(&c->surplus, i) > 0)
            continue;
        if (next > i + 1) { /* nothing is counted up to there */
            next = QB_MIN(next, n);
            if (!add(out, i * cs, next * cs))
                return qb_fail_memory(err);
            i = next - 1;
        } else if (!add(out, i * cs, (i + 1) * cs)) {
            return qb_fail_memory(err);
        }
    }
    return 0;
}

static void punch(struct qb_undo *u, struct qb_io *io, const ranges *r)
{
    u->file.guard = (struct qb_guard){
        .phase = QB_PHASE_SETTLE, .allowed = r->items, .n_allowed = r->n, .min_size = u->file.size};
    for (size_t i = 0; i < r->n; i++) {
        struct qb_req req = {.file = &u->file,
                             .op = QB_OP_PUNCH,
                             .offset = r->items[i].first,
                             .len = r->items[i].end - r->items[i].first};

        if (qb_io_run(io, &req, 1))
            break; /* a file system without holes: the clusters are free for QEMU all the same */
    }
    u->file.guard = (struct qb_guard){.phase = QB_PHASE_READ};
}

static int discard(struct qb_undo *u, struct qb_io *io, struct qb_image *img, uint64_t memory_limit,
                   bool dry_run)
{
    struct qb_err *err = &u->result.err;
    struct qb_census c;
    ranges free_ranges = {0};
    bool reserved = false;
    int r = qb_image_read_snapshots(io, img, err);

    if (r < 0)
        return -1;
    r = qb_census_take_all(io, img, memory_limit, &c, err);
    if (r == 0 && qb_census_corruptions(&c))
        r = qb_fail(err, QB_E_CORRUPT, c.first.offset, "%s", c.first.text);
    if (r == 0)
        r = find_free(&c, QB_MIN(c.end, u->file.size), &free_ranges, err);
    if (r == 0)
        r = qb_file_is_reserved(io, &u->file, &reserved, err);
    if (r == 0 && reserved)
        free_ranges.n = 0;
    if (r == 0 && free_ranges.n && !dry_run)
        punch(u, io, &free_ranges);
    if (r == 0)
        u->result.status = !free_ranges.n ? QB_STATUS_UNCHANGED
                           : dry_run      ? QB_STATUS_WOULD_CHANGE
                                          : QB_STATUS_CHANGED;
    qb_vec_free(&free_ranges);
    qb_census_free(&c);
    return r;
}

int qb_undo_discard(struct qb_undo *u, struct qb_io *io, uint64_t memory_limit, struct qb_claim how)
{
    struct qb_image img;
    int r;

    if (open_file(u, io, how) < 0 || qb_image_open(io, &u->file, &img, &u->result.err) < 0)
        return failed(u);
    qb_image_info(&img, &u->result.before);
    u->result.after = u->result.before;
    r = discard(u, io, &img, memory_limit, !how.writable);
    qb_image_close(&img);
    u->result.allocated_delta =
        (int64_t)qb_file_allocated(&u->file) - (int64_t)u->file.allocated_at_open;
    return r < 0 ? failed(u) : 0;
}
