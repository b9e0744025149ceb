/* Persistent bitmaps: what is asked of them, a downgrade that drops them where the policy allows
 * that, and a new size, which must leave those that stay as valid as they are.
 *
 * The bitmaps extension is in sector 0, so that all of it is one commit.  The directory is read
 * while nothing is proven yet, and held against what QEMU demands; its tables and their data are
 * believed once the census has found them sound. */
#include <string.h>

#include "rules/bitmaps.h"
#include "plan/release.h"
#include "plan/rule.h"

/* The verb that is asked of a bitmap by its name, so that it cannot be done, and not be done a
 * second time either, where the amended image has none.  NULL: no verb names one. */
static const char *verb_that_needs_one(const struct qb_request *rq)
{
    if (rq->bitmaps_rename.n)
        return "rename";
    if (rq->bitmaps_add.n)
        return "add";
    if (rq->bitmaps_merge.n)
        return "merge";
    if (qb_bitmaps_any_plain(&rq->bitmaps_clear))
        return "clear";
    if (qb_bitmaps_any_plain(&rq->bitmaps_enable))
        return "enable";
    return qb_bitmaps_any_plain(&rq->bitmaps_disable) ? "disable" : NULL;
}

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    bool asked = qb_asked(rq, QB_KEY_BITMAPS);
    const char *verb = asked ? verb_that_needs_one(rq) : NULL;
    struct qb_disk_bitmaps_ext ext = {.nb_bitmaps = {{0}}};
    bool odd = img->odd_bitmaps.code;

    if (odd && !qb_bitmaps_may_all_go(rq))
        return qb_bitmaps_refuse(&img->odd_bitmaps, err);
    if (verb && t->header.version == 2)
        return QB_REFUSE("bitmaps.%s needs compat=1.1: version 2 does not support persistent "
                         "bitmaps",
                         verb);
    if (!qb_image_has_bitmaps(img, &ext) && !odd)
        return verb != NULL;
    asked |= qb_bitmaps_mended(rq);
    if (t->header.version == 2 && !rq->drop_bitmaps && !asked)
        return QB_REFUSE("compat=0.10 does not support persistent bitmaps, and the image has %u; "
                         "policy.drop_bitmaps "
                         "allows to drop them",
                         be32_get(ext.nb_bitmaps));
    if (t->header.version == 2 && rq->drop_bitmaps) {
        t->bitmaps_change = t->bitmaps_dropped = t->exts_change = true;
        return 1;
    }
    return asked;
}

/* ---- the list of bitmaps --------------------------------------------------------------------- */

static bool any_consistent(const struct qb_bitmap_work *w, bool now)
{
    size_t n = now ? w->now.n : w->old.list.n;

    for (size_t i = 0; i < n; i++)
        if (!((now ? w->now.items[i].entry : w->old.list.items[i]).flags & QB_BITMAP_IN_USE))
            return true;
    return false;
}

/* An undo brings back bitmaps that say what changed since a backup.  Whatever a guest wrote in the
 * meantime they would miss; but a guest that has written is noticed as long as it had a bitmap to
 * mark as in use, in the new directory, which the undo's proof covers. */
static int check_undo(const struct qb_plan *plan, const struct qb_bitmap_work *w,
                      struct qb_err *err)
{
    if (!plan->in.rq->keep_undo || !any_consistent(w, false) || any_consistent(w, true))
        return 0;
    return QB_CANNOT("keep_undo: an undo cannot bring back persistent bitmaps, which would miss "
                     "what guests write in the meantime, when none is left that notices");
}

static int check_version(const struct qb_plan *plan, const struct qb_bitmap_work *w,
                         struct qb_err *err)
{
    if (plan->target.header.version != 2 || w->now.n == 0)
        return 0;
    return QB_REFUSE("compat=0.10 does not support persistent bitmaps, and %zu would be left; "
                     "policy.drop_bitmaps allows to drop them",
                     w->now.n);
}

/* The bitmaps of the amended image, before anything but the directory, and tables of bitmaps that
 * may be damaged, is read. */
int qb_bitmaps_make_list(struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_err *err)
{
    if (qb_bitmaps_read_old(plan, w, err) < 0 ||
        qb_bitmaps_apply(plan, w, qb_bitmaps_memory_limit(plan), err) < 0 ||
        check_version(plan, w, err) < 0 || qb_bitmaps_skip_lost(plan, w, err) < 0)
        return -1;
    return check_undo(plan, w, err);
}

static int probe(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_disk_bitmaps_ext ext;
    struct qb_bitmap_work *w;
    bool need;

    if (plan->target.bitmaps_dropped)
        return qb_bitmaps_skip_dropped(plan, err);
    if (!qb_works(&plan->target, QB_RULE_bitmaps) &&
        !(qb_target_resizes(plan->in.img, &plan->target) &&
          qb_image_has_bitmaps(plan->in.img, &ext)))
        return 0;
    w = qb_plan_own(plan, QB_RULE_bitmaps, sizeof(*w), err);
    if (!w || qb_bitmaps_make_list(plan, w, err) < 0 ||
        qb_bitmaps_need_tables(plan, w, &need, err) < 0)
        return -1;
    if (need || w->changes)
        plan->target.reach = QB_REACH_TABLES;
    else
        plan->target.works &= ~(UINT32_C(1) << QB_RULE_bitmaps);
    return 0;
}

/* ---- references ------------------------------------------------------------------------------ */

/* What the rule holds is held against the image's limit as the rest of the plan is. */
static int check(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_bitmap_work *w = plan->own[QB_RULE_bitmaps];
    uint64_t bytes;

    if (!w)
        return 0;
    bytes = sizeof(*w) + qb_bitmaps_memory(&w->old) + w->old.list.n * (2 + sizeof(*w->held)) +
            w->now.cap * sizeof(*w->now.items) + qb_index_memory(&w->by_name);
    qb_vec_each (b, &w->now)
        bytes += b->sources.cap * sizeof(*b->sources.items);
    return qb_counts_hold(&plan->census.counts, bytes, err);
}

static int release_range(void *arg, uint64_t offset, uint64_t len, const char *what,
                         struct qb_err *err)
{
    (void)what;
    return qb_plan_release(arg, offset, len, 1, err);
}

/* `of`: the place of a bitmap in the list. */
static int append_filled(struct qb_plan *plan, struct qb_bitmap_work *w, uint32_t of, uint64_t len,
                         const char *what, size_t *at, struct qb_err *err)
{
    struct qb_new_bytes content = {.len = len, .filled_by = QB_RULE_bitmaps, .what = what};

    if (qb_plan_append_bytes(plan, content, at, err) < 0)
        return -1;
    if (!w->content.n)
        w->first_content = *at;
    return qb_counts_push(&plan->census.counts, &w->content, err, of);
}

/* Tables, data and the directory that are new. */
static int append_all(struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_err *err)
{
    uint64_t cs = plan->in.img->geom.cluster_size;

    for (uint32_t i = 0; i < w->now.n; i++) {
        struct qb_new_bitmap *b = &w->now.items[i];

        w->directory_len += qb_bitmap_entry_len(&b->entry);
        if (b->table && append_filled(plan, w, i, 8ull * b->entry.table_size, "bitmap table",
                                      &b->table_at, err) < 0)
            return -1;
        if (b->fresh.n &&
            append_filled(plan, w, i, cs * b->fresh.n, "bitmap data", &b->data_at, err) < 0)
            return -1;
    }
    if (w->now.n > QB_MAX_BITMAPS || w->directory_len > QB_MAX_BITMAP_DIRECTORY)
        return QB_REFUSE("%zu bitmaps with a directory of %llu bytes: QEMU allows %u and 64 MiB",
                         w->now.n, (unsigned long long)w->directory_len, QB_MAX_BITMAPS);
    if (qb_counts_hold(&plan->census.counts, w->directory_len, err) < 0)
        return -1;
    w->directory = malloc(w->directory_len + 1);
    if (!w->directory)
        return qb_fail_memory(err);
    return append_filled(plan, w, UINT32_MAX, w->directory_len, "bitmap directory",
                         &w->directory_at, err);
}

int qb_bitmaps_set_extension(struct qb_plan *plan, struct qb_bitmap_work *w, struct qb_err *err)
{
    struct qb_target *t = &plan->target;

    t->bitmaps_change = t->exts_change = true;
    t->bitmaps.n = (uint32_t)w->now.n;
    t->header.autoclear &= ~QB_AUTOCLEAR_BITMAPS;
    if (w->now.n == 0)
        return 0;
    t->header.autoclear |= QB_AUTOCLEAR_BITMAPS;
    return append_all(plan, w, err);
}

static int release(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_bitmap_work *w = plan->own[QB_RULE_bitmaps];
    bool changes;

    if (plan->target.bitmaps_dropped && plan->skips.all)
        return 0;
    if (plan->target.bitmaps_dropped)
        return qb_bitmaps_walk(plan->in.io, plan->in.img, release_range, NULL, plan, err);
    if (!w)
        return 0;
    changes = w->changes;
    qb_vec_each (b, &w->now) {
        if (qb_bitmap_plan_table(plan, w, b, err) < 0)
            return -1;
        changes |= b->table != NULL;
    }
    if (!changes) {
        plan->target.works &= ~(UINT32_C(1) << QB_RULE_bitmaps);
        return 0;
    }
    w = qb_bitmaps_list_changed(plan, w, err);
    if (!w || qb_bitmaps_release(plan, w, err) < 0)
        return -1;
    return qb_bitmaps_set_extension(plan, w, err);
}

/* ---- what was appended has its place --------------------------------------------------------- */

static int placed(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_bitmap_work *w = plan->own[QB_RULE_bitmaps];
    struct qb_target *t = &plan->target;
    uint8_t *at;

    (void)err;
    if (!w || !w->directory)
        return 0;
    at = w->directory;
    qb_vec_each (b, &w->now) {
        if (b->table)
            b->entry.table_offset = plan->contents.items[b->table_at].offset;
        qb_bitmap_encode(&b->entry, at);
        at += qb_bitmap_entry_len(&b->entry);
    }
    t->bitmaps.directory_offset = plan->contents.items[w->directory_at].offset;
    t->bitmaps.directory_size = w->directory_len;
    return 0;
}

static int fill_bits(struct qb_io *io, const struct qb_plan *plan, struct qb_bitmap_work *w,
                     struct qb_new_bitmap *b, uint64_t at, uint8_t *to, struct qb_err *err)
{
    uint64_t cs = plan->in.img->geom.cluster_size;
    QB_AUTO(qb_buf) uint8_t *room = malloc(4 * cs);
    struct qb_bits bits = {room, to, room + 2 * cs};
    bool merged;

    if (!room)
        return qb_fail_memory(err);
    return qb_bitmap_compute(io, plan, w, b, b->fresh.items[at / cs], &bits, &merged, err);
}

static int fill(struct qb_io *io, const struct qb_plan *plan, size_t index, uint64_t at,
                uint8_t *to, struct qb_err *err)
{
    struct qb_bitmap_work *w = plan->own[QB_RULE_bitmaps];
    uint64_t cs = plan->in.img->geom.cluster_size;
    struct qb_new_bitmap *b;

    if (index == w->directory_at) {
        memcpy(to, w->directory + at, QB_MIN(cs, w->directory_len - at));
        return 0;
    }
    b = &w->now.items[w->content.items[index - w->first_content]];
    if (b->table_at != index)
        return fill_bits(io, plan, w, b, at, to, err);
    qb_bitmap_fill_table(plan, b, at, to);
    return 0;
}

static void report(const struct qb_plan *plan, struct qb_result *result)
{
    const struct qb_bitmap_work *w = plan->own[QB_RULE_bitmaps];

    result->bitmaps_dropped = plan->target.bitmaps_dropped || (w && w->whole);
    if (!w || !qb_works(&plan->target, QB_RULE_bitmaps))
        return;
    result->n_bitmaps_changed = w->n_changed;
    result->n_bitmaps_listed = w->n_listed;
    result->bitmaps_changed = w->changed;
}

static void drop(void *own)
{
    struct qb_bitmap_work *w = own;

    qb_vec_each (b, &w->now) {
        free(b->table);
        qb_vec_free(&b->sources);
        qb_vec_free(&b->fresh);
    }
    qb_vec_free(&w->now);
    for (size_t i = 0; w->held && i < w->old.list.n; i++)
        free(w->held[i]);
    free(qb_take(&w->held));
    qb_bitmaps_free(&w->old);
    qb_index_free(&w->by_name);
    qb_vec_free(&w->content);
    free(qb_take(&w->gone));
    free(qb_take(&w->lost));
    free(qb_take(&w->directory));
}

const struct qb_rule qb_rule_bitmaps = {
    .name = "persistent bitmaps",
    .resolve = resolve,
    .probe = probe,
    .check = check,
    .release = release,
    .placed = placed,
    .fill = fill,
    .report = report,
    .drop = drop,
};
