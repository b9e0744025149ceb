#include "outcome/planned.h"

#include <inttypes.h>
#include <string.h>

#include "job/keys.h"

/* FNV-1a; these fingerprints are in files. */
#define BASIS UINT64_C(0xcbf29ce484222325)

static uint64_t add_bytes(uint64_t h, const void *bytes, size_t n)
{
    const unsigned char *b = bytes;

    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t add_number(uint64_t h, uint64_t n)
{
    uint8_t bytes[8]; /* the same on every machine */

    for (unsigned k = 0; k < 8; k++)
        bytes[k] = (uint8_t)(n >> (8 * k));
    return add_bytes(h, bytes, sizeof(bytes));
}

/* None and an empty text are the same. */
static uint64_t add_text(uint64_t h, const char *s)
{
    return add_bytes(add_number(h, s ? strlen(s) : 0), s ? s : "", s ? strlen(s) : 0);
}

/* Every property that reports show.  By name, so that a key that is added later changes nothing of
 * an image that has not got it. */
static uint64_t print_of(const struct qb_info *info)
{
    uint64_t h = BASIS;

    if (!info)
        return 0;
    qb_keys_each (key, QB_SECTION_amend) {
        struct qb_value v = qb_shown(key, info);

        if (v.kind == QB_VALUE_NONE || (v.kind != QB_VALUE_TEXT && v.number == 0))
            continue;
        h = add_text(h, key->name);
        h = v.kind == QB_VALUE_TEXT ? add_text(h, v.text) : add_number(h, v.number);
    }
    h = add_number(h, info->cluster_size);
    h = add_number(h, info->nb_bitmaps);
    h = add_number(h, info->nb_snapshots);
    h = add_number(h, info->dirty);
    h = add_number(h, info->corrupt);
    return h ? h : 1;
}

static uint64_t print_of_work(const struct qb_result *r)
{
    uint64_t h = BASIS;

    h = add_number(h, r->converted);
    h = add_number(h, r->repaired);
    h = add_number(h, r->mark_cleared);
    h = add_number(h, r->bitmaps_dropped);
    h = add_number(h, r->refcounts_raised > 0);
    h = add_number(h, r->flags_corrected > 0);
    h = add_number(h, r->leaks.freed);
    h = add_number(h, r->n_snapshots_deleted);
    for (size_t i = 0;
         r->snapshots_deleted && i < r->n_snapshots_deleted && i < QB_SNAPSHOTS_LISTED; i++) {
        h = add_text(h, r->snapshots_deleted[i].id);
        h = add_text(h, r->snapshots_deleted[i].name);
        h = add_number(h, r->snapshots_deleted[i].date);
    }
    h = add_number(h, r->n_bitmaps_changed);
    for (size_t i = 0; r->bitmaps_changed && i < r->n_bitmaps_changed && i < QB_BITMAPS_LISTED;
         i++) {
        h = add_text(h, r->bitmaps_changed[i].name);
        h = add_text(h, r->bitmaps_changed[i].from);
        h = add_number(h, r->bitmaps_changed[i].changes);
    }
    return h;
}

void qb_planned_note(const struct qb_result *r, uint64_t bytes, struct qb_planned *out)
{
    *out = (struct qb_planned){.before = print_of(r->before),
                               .after = print_of(r->after ? r->after : r->before),
                               .work = print_of_work(r),
                               .bytes = bytes,
                               .status = r->status,
                               .code = r->err.code};
}

static int stale(struct qb_err *err, const char *what)
{
    return qb_fail(err, QB_E_STALE, QB_NOWHERE, "%s; nothing was changed", what);
}

int qb_planned_check(const struct qb_planned *planned, const struct qb_planned *now,
                     struct qb_err *err)
{
    if (now->status == QB_STATUS_UNCHANGED && now->before == planned->after)
        return 0;
    if (now->before != planned->before)
        return stale(err, "the image is not what it was when the plan was made");
    if (now->status != planned->status || now->after != planned->after ||
        now->work != planned->work)
        return stale(err, "the amend would change something else than the plan has");
    if (now->bytes > qb_planned_most(planned->bytes))
        return qb_fail(err, QB_E_STALE, QB_NOWHERE,
                       "the amend would take %" PRIu64 " bytes, and the plan has %" PRIu64
                       "; nothing was changed",
                       now->bytes, planned->bytes);
    return 0;
}
