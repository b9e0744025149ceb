/* Proves for an undo that an image which was made of a raw disk can be that disk again: that every
 * cluster is where the disk has it, and the first one in its copy as well as under the header. */
#include "undo/undo_state.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/result.h"
#include "chain/chain.h"
#include "image/map.h"
#include "chain/probe.h"
#include "undo/undo_prove.h"

#define READ_BYTES (UINT64_C(1) << 20)

bool qb_undo_is_of_raw(const struct qb_undo *u)
{
    return strcmp(qb_probe_magic(u->facts.old_sector), "raw") == 0;
}

/* Whether [first, end) of the file reads zero; *at is where it does not. */
static int is_zero(struct qb_proving *p, uint64_t first, uint64_t end, uint64_t *at)
{
    struct qb_file *file = p->now.file;
    QB_AUTO(qb_buf) uint8_t *buf = malloc(READ_BYTES);
    uint64_t len;

    if (!buf)
        return qb_fail_memory(p->err);
    for (*at = first; (*at = qb_file_next_data(file, *at)) < end; *at += len) {
        len = QB_MIN(end, file->size);
        len = QB_MIN(READ_BYTES, len > *at ? len - *at : 0);
        if (len == 0)
            break;
        if (qb_io_read(p->io, file, *at, buf, len, "the image", p->err) < 0)
            return -1;
        if (!qb_all_zero(buf, len))
            return 0;
    }
    return 1;
}

static int must_be_zero(struct qb_proving *p, uint64_t first, uint64_t end, const char *what)
{
    uint64_t at;
    int zero = first < end ? is_zero(p, first, end, &at) : 1;

    return zero < 0 ? -1 : zero ? 0 : qb_undo_refuse(p, at, "%s", what);
}

/* The first cluster of the disk: what is under the header still, the sector that was there, and
 * what the guest reads now are the same. */
static int compare_first(struct qb_undo *u, struct qb_proving *p)
{
    const struct qb_geom *g = &p->now.geom;
    uint64_t cs = g->cluster_size;
    QB_AUTO(qb_buf) uint8_t *was = malloc(cs), *now = malloc(cs);
    struct qb_l2_place place;

    if (!was || !now)
        return qb_fail_memory(p->err);
    if (qb_image_find(p->io, &p->now, 0, &place, p->err) < 0 ||
        qb_image_read_own(p->io, &p->now, &place, now, p->err) < 0 ||
        qb_io_read(p->io, &u->file, 0, was, cs, "the first cluster", p->err) < 0)
        return -1;
    memcpy(was, u->facts.old_sector, QB_SECTOR);
    return memcmp(was, now, cs) == 0 ? 0
                                     : qb_undo_refuse(p, 0, "the disk's first cluster was written");
}

/* What no entry maps was a hole of the disk: whatever a guest had there meanwhile would show. */
static int look_at_holes(struct qb_undo *u, struct qb_proving *p)
{
    uint64_t end = QB_MIN(u->facts.old_length, p->now.header.size), cs = p->now.geom.cluster_size;
    struct qb_map map;
    struct qb_map_run run;

    qb_map_init(&map, &p->now);
    for (uint64_t at = cs; at < end; at = run.end) {
        if (qb_io_go_on(p->io, p->err) < 0 || qb_map_entry(p->io, &map, at, end, &run, p->err) < 0)
            return -1;
        if (qb_l2_kind(&p->now.geom, run.entry) != QB_DATA &&
            must_be_zero(p, at, run.end, "a cluster was allocated") < 0)
            return -1;
    }
    return 0;
}

/* A device keeps its length, of which the disk is only the first part; that of a file is the
 * disk's, and what is behind it was appended. */
static int look_at_length(struct qb_undo *u, struct qb_proving *p)
{
    if (u->file.is_block_device)
        return 0;
    if (u->file.size != p->proof->end)
        return qb_undo_refuse(p, QB_NOWHERE, "the file's length has changed");
    return must_be_zero(p, QB_MAX(u->facts.old_length, QB_SECTOR), p->proof->base,
                        "the disk was written past its old end");
}

/* The tables are as the amend wrote them, so that they map each cluster to its own place, and count
 * no other; a guest that got a cluster would have changed one, or made the file longer. */
static int prove(struct qb_undo *u, struct qb_proving *p)
{
    if (qb_undo_same_stretch(p) < 0 || look_at_length(u, p) < 0)
        return -1;
    return compare_first(u, p) < 0 ? -1 : look_at_holes(u, p);
}

static void tell(struct qb_undo *u, const struct qb_image *now)
{
    if (now)
        qb_image_info(now, &u->before);
    u->after = (struct qb_info){.format = "raw",
                                .virtual_size = qb_round_up(u->facts.old_length, QB_SECTOR)};
    u->result.before = now ? &u->before : &u->after;
    u->result.after = &u->after;
    qb_result_own(&u->result);
}

int qb_undo_look_at_raw(struct qb_undo *u, struct qb_io *io)
{
    struct qb_proving p = {
        .io = io, .proof = u->facts.proof, .memory_limit = u->facts.memory_limit, .err = &u->err};
    int r = qb_image_open_as(io, &u->file, u->facts.mistrusted ? u->facts.new_sector : NULL, &p.now,
                             p.err);

    if (r < 0)
        return -1;
    tell(u, &p.now);
    /* Of one that verification found wrong the caller knows that not a byte has changed since. */
    if (!u->facts.mistrusted)
        r = prove(u, &p);
    u->cut_to = u->facts.old_length;
    qb_image_close(&p.now);
    return r;
}

/* A raw disk is as long as its file, so a longer one is not the disk that was. */
static int refuse_longer(struct qb_undo *u)
{
    return qb_fail(&u->err, QB_E_CHANGED, u->facts.old_length,
                   "the disk is %llu bytes longer than it was before the run, and what is past its "
                   "old end is not, or not only, what the run appended to the end; finish the run "
                   "(--resume), then undo it",
                   (unsigned long long)(u->file.size - u->facts.old_length));
}

/* The disk is there, maybe longer: what is past its end is cut off if it is all that the amend
 * appended, and nothing else. */
int qb_undo_look_for_raw_tail(struct qb_undo *u, struct qb_io *io)
{
    struct qb_file *file = &u->file;
    const struct qb_proof *proof = u->facts.proof;
    struct qb_proving p = {.io = io, .proof = proof, .now = {.file = file}, .err = &u->err};
    uint64_t at;
    int r;

    u->flipped = true;
    u->result.status = QB_STATUS_UNCHANGED;
    tell(u, NULL);
    if (file->is_block_device || file->size <= u->facts.old_length)
        return 0;
    if (!proof || file->size != proof->end)
        return refuse_longer(u);
    r = is_zero(&p, QB_MAX(u->facts.old_length, QB_SECTOR), proof->base, &at);
    if (r <= 0)
        return r < 0 ? -1 : refuse_longer(u);
    if (qb_undo_same_stretch(&p) < 0)
        return u->err.code == QB_E_CHANGED ? refuse_longer(u) : -1;
    u->cut_to = u->facts.old_length;
    u->result.status = QB_STATUS_WOULD_CHANGE;
    return 0;
}
