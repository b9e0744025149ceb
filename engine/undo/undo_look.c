/* Decides whether an image may be undone, from its header, the file's length and times, and what
 * both headers refer to. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "amend/as_found.h"
#include "undo/undo_prove.h"
#include "undo/undo_state.h"
#include "base/own.h"
#include "base/result.h"

static int open_file(struct qb_undo *u, struct qb_io *io, struct qb_claim how)
{
    int r = u->file.fd < 0 ? qb_file_claim(io, u->path, how, &u->file, &u->err) : 0;

    u->result.file_size_before = u->result.file_size_after = u->file.size;
    u->result.without_locks = u->file.without_locks;
    u->result.writers_unseen = u->file.writers_unseen;
    return r;
}

int qb_undo_changed_since(struct qb_undo *u, const char *what)
{
    return qb_fail(&u->err, QB_E_CHANGED, QB_NOWHERE,
                   "%s since the run amended it; an undo would lose what was written", what);
}

/* Of a device nothing is recorded but what the proof, or the fingerprint, says: its node is another
 * one after each boot, and its length may be changed at any time. */
static bool was_device(const struct qb_undo_facts *f)
{
    return !f->seen && (f->mistrusted || (f->proof && f->proof->is_device));
}

int qb_undo_is_unwritten(struct qb_undo *u)
{
    const struct qb_undo_facts *f = &u->facts;
    struct stat st;
    uint64_t mtime_ns;

    if (u->file.is_block_device != was_device(f))
        return qb_undo_changed_since(u, "another file took the image's place");
    if (u->file.is_block_device || u->file.mem)
        return 0;
    if (fstat(u->file.fd, &st) < 0)
        return qb_fail_sys(&u->err, errno, QB_NOWHERE, "cannot look at the file");
    mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
    if (st.st_ino != (f->seen ? f->ino : f->proof->ino))
        return qb_undo_changed_since(u, "another file took the image's place");
    if (f->seen &&
        (f->longer ? (uint64_t)st.st_size < f->length : (uint64_t)st.st_size != f->length))
        return qb_undo_changed_since(u, "the file's length has changed");
    if (f->seen && !f->begun && !f->longer && !f->ignore_times && mtime_ns != f->mtime_ns)
        return qb_fail(&u->err, QB_E_CHANGED, QB_NOWHERE,
                       "the image was written since the run amended it, as its modification time "
                       "says; undo --ignore-times goes by what is on the disk alone");
    return 0;
}

int qb_undo_fail_given_up(struct qb_err *err)
{
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "what an undo needs was freed by --discard-undo");
}

int qb_undo_look_at_sector(struct qb_undo *u, struct qb_io *io)
{
    struct qb_err *err = &u->err;
    uint64_t len = qb_undo_is_of_raw(u) ? QB_MIN(u->file.size, (uint64_t)QB_SECTOR) : QB_SECTOR;
    uint8_t sector[QB_SECTOR] = {0}; /* a raw disk may be shorter */

    if (qb_io_read(io, &u->file, 0, sector, len, "the header", err) < 0)
        return -1;
    if (memcmp(sector, u->facts.old_sector, QB_SECTOR) == 0)
        return 1;
    if (u->facts.given_up && memcmp(sector, u->facts.given_up, QB_SECTOR) == 0)
        return qb_undo_fail_given_up(err);
    if (memcmp(sector, u->facts.new_sector, QB_SECTOR) == 0)
        u->facts.header_wrong = false; /* verification could not read it */
    else if (!u->facts.header_wrong)
        return qb_undo_changed_since(u, "the image's header was written");
    return 0;
}

/* The file's length before any attempt of the run had appended something. */
static uint64_t first_length(const struct qb_undo *u)
{
    uint64_t old = u->facts.old_length, first = u->facts.appended_from;

    return first ? qb_min(first, old) : old;
}

/* Sets the file's future length: what the amend appended lies past the old image's end.  The last
 * cluster may have been in the file in part only; a guest may have written the rest since. */
static int find_cut(struct qb_undo *u, struct qb_io *io, uint64_t end, uint64_t cluster_size)
{
    uint64_t from = first_length(u), len = QB_MIN(end, u->file.size);
    QB_AUTO(qb_buf) uint8_t *rest = NULL;

    if (end > qb_round_up(from, cluster_size)) /* a guest had the image after such an attempt */
        from = u->facts.old_length;
    if (u->file.is_block_device || u->file.size <= from || end > qb_round_up(from, cluster_size))
        return 0;
    u->cut_to = from;
    if (len <= from)
        return 0;
    len -= from;
    rest = malloc(len);
    if (!rest)
        return qb_fail_memory(&u->err);
    if (qb_io_read(io, &u->file, from, rest, len, "the last cluster", &u->err) < 0)
        return -1;
    if (!qb_all_zero(rest, len))
        u->cut_to = from + len;
    return 0;
}

static int prove(struct qb_undo *u, struct qb_proving *p)
{
    if (qb_image_read_snapshots(p->io, &p->old, p->err) < 0 ||
        qb_image_read_snapshots(p->io, &p->now, p->err) < 0 || qb_undo_prove(p) < 0 ||
        qb_undo_look_at_data(u, p) < 0)
        return -1;
    return find_cut(u, p->io, qb_counts_end(&p->old_refs.counts) * p->old.geom.cluster_size,
                    p->old.geom.cluster_size);
}

/* Verification found the amended image wrong: the file must be unchanged since then, byte for byte.
 */
static int is_as_found(struct qb_undo *u, struct qb_io *io)
{
    struct qb_digest now;

    if (qb_as_found(io, &u->file, &now, &u->err) < 0)
        return -1;
    return qb_digest_equal(now, u->facts.as_found)
               ? 0
               : qb_undo_changed_since(u, "the image was written");
}

/* The old image must show what a guest of the amended image wrote to an external data file. */
static int compare_data_file(struct qb_undo *u, struct qb_proving *p)
{
    static const struct qb_proof nothing_appended = {0};

    if (!(p->old.header.incompatible & QB_INCOMPAT_DATA_FILE))
        return 0;
    if (u->facts.header_wrong)
        return qb_fail(p->err, QB_E_REFUSED, QB_NOWHERE,
                       "the header was damaged: where a guest has written in the external data "
                       "file since cannot be known");
    p->proof = &nothing_appended;
    return qb_undo_compare_maps(p) < 0 ? -1 : qb_undo_look_at_data(u, p);
}

/* The old image must be sound.  If it was dirty before the amend, its refcounts may have any value.
 */
static int count_old(struct qb_undo *u, struct qb_proving *p)
{
    const struct qb_census *c = &p->old_refs;
    bool dirty = u->after.dirty;

    if (is_as_found(u, p->io) < 0 || qb_image_read_snapshots(p->io, &p->old, p->err) < 0 ||
        qb_census_take(p->io, &p->old, p->memory_limit, NULL, NULL, &p->old_refs, p->err) < 0)
        return -1;
    if (dirty ? qb_census_is_broken(c) : qb_census_corruptions(c) > 0)
        return qb_fail(p->err, QB_E_CHANGED, c->first.offset,
                       "what the old header refers to is not whole any more: %.200s",
                       c->first.text);
    if (compare_data_file(u, p) < 0)
        return -1;
    return find_cut(u, p->io, qb_counts_end(&p->old_refs.counts) * p->old.geom.cluster_size,
                    p->old.geom.cluster_size);
}

static int open_old(struct qb_undo *u, struct qb_proving *p)
{
    char text[sizeof(p->err->text)];

    if (qb_image_open_as(p->io, &u->file, u->facts.old_sector, &p->old, p->err) < 0) {
        memcpy(text, p->err->text, sizeof(text));
        return p->err->code != QB_E_CORRUPT
                   ? -1
                   : qb_fail(p->err, QB_E_CHANGED, p->err->offset,
                             "the old header's extensions or names are not whole any more: %.250s",
                             text);
    }
    qb_image_info(&p->old, &u->after);
    u->result.after = &u->after;
    return 0;
}

static int look_at_images(struct qb_undo *u, struct qb_io *io)
{
    struct qb_proving p = {.io = io,
                           .proof = u->facts.proof,
                           .memory_limit = u->facts.memory_limit,
                           .old_length = u->facts.old_length,
                           .err = &u->err};
    int r = qb_image_open_as(io, &u->file, u->facts.mistrusted ? u->facts.new_sector : NULL, &p.now,
                             p.err);

    if (r < 0)
        return -1;
    qb_image_info(&p.now, &u->before);
    u->result.before = &u->before;
    r = open_old(u, &p);
    if (r == 0) {
        r = u->facts.mistrusted ? count_old(u, &p) : prove(u, &p);
        qb_result_own(&u->result);
        qb_image_close(&p.old);
    } else {
        qb_result_own(&u->result);
    }
    qb_census_free(&p.old_refs);
    qb_census_free(&p.now_refs);
    qb_image_close(&p.now);
    return r;
}

/* The old header is in place, because an undo was interrupted or the amend never committed: checks
 * whether a tail that nothing refers to is left. */
static int look_for_tail(struct qb_undo *u, struct qb_io *io)
{
    struct qb_err *err = &u->err;
    struct qb_image img;
    struct qb_census c = {0};
    int r = qb_image_open(io, &u->file, &img, err);

    u->flipped = true;
    u->result.status = QB_STATUS_UNCHANGED;
    if (r < 0)
        return -1;
    qb_image_info(&img, &u->before);
    u->result.before = u->result.after = &u->before;
    qb_result_own(&u->result);
    if (u->file.size > first_length(u) && !u->file.is_block_device) {
        r = qb_image_read_snapshots(io, &img, err);
        if (r == 0)
            r = qb_census_take(io, &img, u->facts.memory_limit, NULL, NULL, &c, err);
        if (r == 0 && !qb_census_is_broken(&c))
            r = find_cut(u, io, c.end, img.geom.cluster_size);
        qb_census_free(&c);
    }
    qb_image_close(&img);
    if (r == 0 && u->cut_to < u->file.size)
        u->result.status = QB_STATUS_WOULD_CHANGE;
    return r;
}

/* Where the file could not be read after a verification that failed, what was recorded before the
 * flip is as good as in a run that was killed before it verified anything. */
static void trust_proof(struct qb_undo_facts *f)
{
    if (f->mistrusted && f->proof && qb_digest_is_empty(f->as_found) && !f->header_wrong)
        f->mistrusted = false;
}

static int check(struct qb_undo *u, struct qb_io *io)
{
    const struct qb_undo_facts *f = &u->facts;
    bool raw = qb_undo_is_of_raw(u);
    int r = qb_undo_look_at_sector(u, io);

    if (r != 0)
        return r < 0 ? -1 : raw ? qb_undo_look_for_raw_tail(u, io) : look_for_tail(u, io);
    trust_proof(&u->facts);
    if (f->mistrusted ? (!f->seen && !u->file.is_block_device) || qb_digest_is_empty(f->as_found)
                      : !f->proof)
        return qb_fail(&u->err, QB_E_REFUSED, QB_NOWHERE,
                       f->mistrusted
                           ? "the journal has no fingerprint of the file as verification left it"
                           : "the journal has no record of what the amend wrote");
    if (qb_undo_is_unwritten(u) < 0)
        return -1;
    if (raw ? (f->mistrusted && is_as_found(u, io) < 0) || qb_undo_look_at_raw(u, io) < 0
            : look_at_images(u, io) < 0)
        return -1;
    u->result.status = QB_STATUS_WOULD_CHANGE;
    return 0;
}

int qb_undo_check(struct qb_undo *u, struct qb_io *io, const struct qb_undo_facts *facts,
                  struct qb_claim how)
{
    u->facts = *facts;
    return open_file(u, io, how) < 0 || check(u, io) < 0 ? qb_undo_failed(u) : 0;
}
