#include "outcome/outcome_wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/result.h"

/* ---- members of structs ---------------------------------------------------------------------- */

#define MEMBER(T, m, kind, below)                                                                  \
    {                                                                                              \
        offsetof(T, m), kind, sizeof(((T *)0)->m), below                                           \
    }
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

#define I(m, kind)  MEMBER(struct qb_info, m, QB_WIRE_##kind, 0)
static const struct qb_wire_member of_info[] = {
    I(version, NUMBER),
    I(virtual_size, NUMBER),
    I(cluster_size, NUMBER),
    I(refcount_bits, NUMBER),
    I(nb_snapshots, NUMBER),
    I(nb_bitmaps, NUMBER),
    MEMBER(struct qb_info, crypt_method, QB_WIRE_BELOW, 3),
    I(lazy_refcounts, BOOL),
    I(dirty, BOOL),
    I(corrupt, BOOL),
    I(extended_l2, BOOL),
    I(zstd, BOOL),
    I(external_data_file, BOOL),
    I(data_file_raw, BOOL),
    I(has_backing_file, BOOL),
    I(backing_file, TEXT),
    I(backing_fmt, TEXT),
    I(compression_type, TEXT),
    I(data_file, TEXT),
    I(format, TEXT),
};

#define R(m, kind) MEMBER(struct qb_result, m, QB_WIRE_##kind, 0)
static const struct qb_wire_member of_result[] = {
    MEMBER(struct qb_result, status, QB_WIRE_BELOW, QB_STATUS_COUNT),
    MEMBER(struct qb_result, err.code, QB_WIRE_BELOW, QB_E_COUNT),
    R(err.sys_errno, NUMBER),
    R(err.offset, NUMBER),
    R(err.text, TEXT),
    R(clusters.valid, BOOL),
    R(clusters.total, NUMBER),
    R(clusters.allocated, NUMBER),
    R(clusters.zero_plain, NUMBER),
    R(clusters.zero_allocated, NUMBER),
    R(clusters.compressed, NUMBER),
    R(clusters.expanded, NUMBER),
    R(clusters.deallocated, NUMBER),
    R(clusters.copied, NUMBER),
    R(leaks.valid, BOOL),
    R(leaks.freed, BOOL),
    R(leaks.clusters, NUMBER),
    R(leaks.bytes, NUMBER),
    R(io.read_bytes, NUMBER),
    R(io.write_bytes, NUMBER),
    R(io.zeroed_bytes, NUMBER),
    R(io.read_ops, NUMBER),
    R(io.write_ops, NUMBER),
    R(io.barriers, NUMBER),
    R(open_seconds, SECONDS),
    R(read_seconds, SECONDS),
    R(plan_seconds, SECONDS),
    R(write_seconds, SECONDS),
    R(verify_seconds, SECONDS),
    R(file_size_before, NUMBER),
    R(file_size_after, NUMBER),
    R(allocated_delta, NUMBER),
    R(tail_given_back, NUMBER),
    R(repaired, BOOL),
    R(backing_unchecked, BOOL),
    R(bitmaps_dropped, BOOL),
    R(without_locks, BOOL),
    R(writers_unseen, BOOL),
    R(other_names, NUMBER),
    R(verified, BOOL),
    R(header_from_disk, BOOL),
    R(header_wrong, BOOL),
    R(backed_up, BOOL),
    R(committed, BOOL),
    R(header_sent, BOOL),
    R(resumed, BOOL),
    R(n_snapshots_deleted, NUMBER),
    MEMBER(struct qb_result, n_snapshots_listed, QB_WIRE_BELOW, QB_SNAPSHOTS_LISTED + 1),
    R(refcounts_raised, NUMBER),
    R(flags_corrected, NUMBER),
    R(mark_cleared, BOOL),
    MEMBER(struct qb_result, n_freed_listed, QB_WIRE_BELOW, QB_FREED_LISTED + 1),
    R(data_file_unchecked, BOOL),
    R(n_bitmaps_changed, NUMBER),
    MEMBER(struct qb_result, n_bitmaps_listed, QB_WIRE_BELOW, QB_BITMAPS_LISTED + 1),
    R(image_end_offset, NUMBER),
    R(reclaimed_bytes, NUMBER),
    R(reclaim_errno, NUMBER),
    R(device_lacks, NUMBER),
    R(converted, BOOL),
    R(moved_bytes, NUMBER),
};

#define S(m, kind) MEMBER(struct qb_deleted_snapshot, m, QB_WIRE_##kind, 0)
static const struct qb_wire_member of_snapshot[] = {S(id, TEXT), S(name, TEXT), S(date, NUMBER),
                                                    S(vm_state_size, NUMBER)};

#define B(m, kind) MEMBER(struct qb_changed_bitmap, m, QB_WIRE_##kind, 0)
static const struct qb_wire_member of_bitmap[] = {B(name, TEXT), B(from, TEXT), B(changes, NUMBER)};

#define F(m) MEMBER(struct qb_freed_range, m, QB_WIRE_NUMBER, 0)
static const struct qb_wire_member of_freed[] = {F(offset), F(bytes)};

#define T(m, kind) MEMBER(struct qb_timing, m, QB_WIRE_##kind, 0)
static const struct qb_wire_member of_timing[] = {
    T(started_seconds, SECONDS), T(seconds, SECONDS), T(wait_seconds, SECONDS),
    MEMBER(struct qb_timing, wave, QB_WIRE_BELOW, QB_TIMING_NUMBERS),
    MEMBER(struct qb_timing, worker, QB_WIRE_BELOW, QB_TIMING_NUMBERS)};

#define P(m, kind) MEMBER(struct qb_span, m, QB_WIRE_##kind, 0)
static const struct qb_wire_member of_span[] = {
    P(started_seconds, SECONDS), P(seconds, SECONDS),
    MEMBER(struct qb_span, worker, QB_WIRE_BELOW, QB_TIMING_NUMBERS)};

#define O(m, below) MEMBER(struct qb_outcome, m, QB_WIRE_BELOW, below)
static const struct qb_wire_member of_outcome[] = {O(verify, QB_VERIFY_CONTENT + 1),
                                                   O(step, QB_STEPS_MAX + 1)};

/* ---- results --------------------------------------------------------------------------------- */

static void put_flag(struct qb_wire *w, bool flag)
{
    unsigned char byte = flag;

    qb_wire_put(w, &byte, 1);
}

static bool take_flag(struct qb_wired *w)
{
    unsigned char byte;

    qb_wired_take(w, &byte, 1);
    return byte != 0;
}

static void put_info(struct qb_wire *w, const struct qb_info *info)
{
    put_flag(w, info != NULL);
    if (info)
        qb_wire_members(w, info, of_info, COUNT(of_info));
}

static const struct qb_info *take_info(struct qb_wired *w, struct qb_info *room)
{
    if (!take_flag(w))
        return NULL;
    qb_wired_members(w, room, of_info, COUNT(of_info));
    return room;
}

static void put_sector(struct qb_wire *w, const uint8_t *sector)
{
    put_flag(w, sector != NULL);
    if (sector)
        qb_wire_put(w, sector, QB_RESULT_SECTOR);
}

static const uint8_t *take_sector(struct qb_wired *w)
{
    return take_flag(w) ? qb_wired_bytes(w, QB_RESULT_SECTOR) : NULL;
}

static void put_result(struct qb_wire *w, const struct qb_result *r)
{
    qb_wire_members(w, r, of_result, COUNT(of_result));
    put_info(w, r->before);
    put_flag(w, r->after == r->before);
    if (r->after != r->before)
        put_info(w, r->after);
    put_sector(w, r->old_sector);
    put_sector(w, r->new_sector);
    for (unsigned i = 0; i < r->n_snapshots_listed; i++)
        qb_wire_members(w, &r->snapshots_deleted[i], of_snapshot, COUNT(of_snapshot));
    for (unsigned i = 0; i < r->n_freed_listed; i++)
        qb_wire_members(w, &r->freed_first[i], of_freed, COUNT(of_freed));
    for (unsigned i = 0; i < r->n_bitmaps_listed; i++)
        qb_wire_members(w, &r->bitmaps_changed[i], of_bitmap, COUNT(of_bitmap));
}

/* What a result points to until it is copied. */
struct room {
    struct qb_info before, after;
    struct qb_deleted_snapshot snapshots[QB_SNAPSHOTS_LISTED];
    struct qb_freed_range freed[QB_FREED_LISTED];
    struct qb_changed_bitmap bitmaps[QB_BITMAPS_LISTED];
};

static bool has_format(const struct qb_info *info)
{
    return !info || info->format;
}

/* Members that the program counts on. */
static bool is_whole(const struct qb_result *r)
{
    bool whole =
        (r->err.code == QB_E_NONE || r->err.text) && has_format(r->before) && has_format(r->after);

    for (unsigned i = 0; i < r->n_snapshots_listed; i++)
        whole &= r->snapshots_deleted[i].id && r->snapshots_deleted[i].name;
    for (unsigned i = 0; i < r->n_bitmaps_listed; i++)
        whole &= r->bitmaps_changed[i].name != NULL;
    return whole;
}

static bool take_result(struct qb_wired *w, struct qb_result *r, struct room *room)
{
    *r = (struct qb_result){0};
    qb_wired_members(w, r, of_result, COUNT(of_result));
    r->before = take_info(w, &room->before);
    r->after = take_flag(w) ? r->before : take_info(w, &room->after);
    r->old_sector = take_sector(w);
    r->new_sector = take_sector(w);
    if (w->bad)
        return false;
    for (unsigned i = 0; i < r->n_snapshots_listed; i++)
        qb_wired_members(w, &room->snapshots[i], of_snapshot, COUNT(of_snapshot));
    for (unsigned i = 0; i < r->n_freed_listed; i++)
        qb_wired_members(w, &room->freed[i], of_freed, COUNT(of_freed));
    for (unsigned i = 0; i < r->n_bitmaps_listed; i++)
        qb_wired_members(w, &room->bitmaps[i], of_bitmap, COUNT(of_bitmap));
    r->snapshots_deleted = r->n_snapshots_listed ? room->snapshots : NULL;
    r->freed_first = r->n_freed_listed ? room->freed : NULL;
    r->bitmaps_changed = r->n_bitmaps_listed ? room->bitmaps : NULL;
    if (w->bad || !is_whole(r))
        return false;
    qb_result_own(r);
    return true;
}

/* ---- outcomes -------------------------------------------------------------------------------- */

void qb_outcome_put(struct qb_wire *w, const struct qb_outcome *o)
{
    put_result(w, &o->result);
    qb_wire_members(w, &o->timing, of_timing, COUNT(of_timing));
    for (size_t i = 0; i < QB_SPAN_COUNT; i++)
        qb_wire_members(w, &o->timing.spans[i], of_span, COUNT(of_span));
    qb_wire_members(w, o, of_outcome, COUNT(of_outcome));
    qb_wire_text(w, o->steps);
}

bool qb_outcome_take(struct qb_wired *w, struct qb_outcome *o)
{
    QB_AUTO(qb_buf) struct room *room = malloc(sizeof(*room));
    const char *steps;

    *o = (struct qb_outcome){0};
    if (!room || !take_result(w, &o->result, room))
        return false;
    qb_wired_members(w, &o->timing, of_timing, COUNT(of_timing));
    for (size_t i = 0; i < QB_SPAN_COUNT; i++)
        qb_wired_members(w, &o->timing.spans[i], of_span, COUNT(of_span));
    qb_wired_members(w, o, of_outcome, COUNT(of_outcome));
    steps = qb_wired_text(w, NULL);
    o->steps = steps ? strdup(steps) : NULL;
    if (!w->bad)
        return true;
    qb_outcome_clear(o);
    return false;
}
