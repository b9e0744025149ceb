#include "amend/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Which guest clusters will read zero according to the plan. */
static struct qb_content_rules rules_of(const struct qb_plan *plan)
{
    const struct qb_target *t = &plan->target;
    struct qb_content_rules rules = {
        .old_size = plan->in.img->header.size,
        .new_size = t->header.size,
        .zero_from = plan->below.known ? plan->below.size : UINT64_MAX,
        .below = plan->below.whole ? (struct qb_chain *)&plan->below.chain : NULL,
        .data = qb_data_is_open(plan) ? plan->in.data : NULL,
        .new_from = plan->rewrites ? plan->place.base : UINT64_MAX,
        .new_inside = plan->place.room.items,
        .n_new_inside = plan->place.room.n,
        .unit = QB_MIN(plan->geom.l2_entries, plan->in.img->geom.l2_entries),
        .file_bytes = plan->size.old,
        .memory_limit = plan->in.rq->memory_limit,
    };

    if (rules.data)
        rules.file_bytes = plan->data.old;
    if (!t->backing_name[0])
        rules.zero_from = 0;
    /* Zero clusters stay, and those of VM state move: to the other side of it, maybe.  Where every
     * cluster is allocated, what was unallocated past it is none that stays; VM state is past it
     * too, then. */
    if (qb_plan_converts(plan) && t->header.version == 3 && rules.old_size == rules.new_size &&
        !(plan->active.filled && rules.zero_from < rules.new_size))
        rules.zero_from = UINT64_MAX;
    rules.zeros = qb_asked(plan->in.rq, QB_KEY_RECLAIM) && plan->in.rq->reclaim_zeros;
    rules.moves = qb_moves_any(&plan->moves) && !rules.data ? &plan->moves : NULL;
    rules.recodes = t->header.compression_type != plan->in.img->header.compression_type &&
                    !plan->in.img->header.crypt_method && !rules.data;
    rules.copies = qb_plan_converts(plan) && plan->geom.l2_entry_size == 8 && !rules.data;
    rules.defers = rules.below && plan->in.rq->zero_clusters == QB_ZERO_DEFER &&
                   t->header.version == 2; /* it has no zero clusters */
    return rules;
}

int qb_verify_remember(struct qb_io *io, const struct qb_plan *plan, struct qb_content *out,
                       struct qb_err *err)
{
    const struct qb_content_rules rules = rules_of(plan);
    const struct qb_snapshot_table *all = &plan->in.img->snapshots;
    struct qb_image img = *plan->in.img; /* with the snapshots that stay */
    int r = 0;

    if (img.raw)
        return qb_content_take_disk(io, &img, out, err);
    if (!plan->target.deleted)
        return qb_content_take(io, &img, &rules, out, err);
    img.header.nb_snapshots = plan->target.header.nb_snapshots;
    memset(&img.snapshots.list, 0, sizeof(img.snapshots.list));
    for (size_t i = 0; r == 0 && i < all->list.n; i++)
        if (qb_target_keeps(&plan->target, i) &&
            !qb_vec_push(&img.snapshots.list, all->list.items[i]))
            r = qb_fail_memory(err);
    if (r == 0)
        r = qb_content_take(io, &img, &rules, out, err);
    qb_vec_free(&img.snapshots.list);
    return r;
}

static int verify_rules(struct qb_io *io, const struct qb_plan *plan, const struct qb_image *now,
                        struct qb_err *err)
{
    for (unsigned i = 0; i < QB_N_RULES; i++)
        if (qb_rules[i]->verify && qb_rules[i]->verify(io, plan, now, err) < 0)
            return -1;
    return 0;
}

static int verify_meaning(const struct qb_plan *plan, const struct qb_image *now,
                          const struct qb_info *wanted, struct qb_err *err)
{
    struct qb_info info;

    qb_image_info(now, &info);
    if (memcmp(now->head, plan->sector.bytes, QB_SECTOR) == 0 &&
        info.virtual_size == wanted->virtual_size &&
        strcmp(info.backing_file, wanted->backing_file) == 0)
        return 0;
    return qb_fail(err, QB_E_VERIFY, 0, "the header on disk is not the one that was written");
}

/* Clusters kept for an undo are counted as if referred to: exactly these may leak. */
static int verify_census(struct qb_io *io, struct qb_plan *plan, const struct qb_image *now,
                         struct qb_err *err)
{
    struct qb_census c;
    int r = qb_census_count(io, now, plan->in.rq->memory_limit, &c, err);

    if (r == 0)
        r = qb_counts_add_counts(&c.counts, &plan->kept.counts, err);
    if (r == 0)
        r = qb_census_compare(io, &c, err);
    if (r == 0 && (qb_census_corruptions(&c) || c.n_leaks))
        r = qb_fail(err, QB_E_VERIFY, c.first.offset,
                    "the amended image has %" PRIu64 " errors and %" PRIu64
                    " leaked clusters, and %" PRIu64 " were to be kept: %s",
                    qb_census_corruptions(&c), c.n_leaks, plan->kept.n, c.first.text);
    qb_census_free(&c);
    return r;
}

static int verify_content(struct qb_io *io, const struct qb_plan *plan, const struct qb_image *now,
                          const struct qb_content *before, struct qb_err *err)
{
    const struct qb_content_rules rules = rules_of(plan);
    struct qb_content after;
    int r = plan->in.img->raw ? qb_content_take_disk(io, now, &after, err)
                              : qb_content_take(io, now, &rules, &after, err);

    if (r == 0)
        r = qb_content_compare(before, &after, err);
    qb_content_free(&after);
    return r;
}

static int verify_image(struct qb_io *io, struct qb_plan *plan, struct qb_image *now,
                        const struct qb_info *wanted, const struct qb_content *before,
                        struct qb_err *err)
{
    bool reads = plan->rewrites || before || plan->target.deleted;

    if (verify_meaning(plan, now, wanted, err) < 0 ||
        (reads && qb_image_read_snapshots(io, now, err) < 0) ||
        verify_rules(io, plan, now, err) < 0)
        return -1;
    if (plan->rewrites && verify_census(io, plan, now, err) < 0)
        return -1;
    return before ? verify_content(io, plan, now, before, err) : 0;
}

/* Anything that prevents reading the amended image is damage of the image, whichever code the
 * reader reports: an unreadable sector, an unknown version, a table past the end of the file.  Only
 * a shortage of memory is not about the image. */
static int blame(struct qb_err *err)
{
    char text[sizeof(err->text)];

    if (err->code == QB_E_VERIFY)
        return -1;
    memcpy(text, err->text, sizeof(text));
    if (err->code == QB_E_MEMORY)
        return qb_fail(err, QB_E_MEMORY, err->offset,
                       "the image was amended, and could not be verified: %.330s", text);
    return qb_fail(err, QB_E_VERIFY, err->offset, "the amended image is damaged: %.350s", text);
}

int qb_verify_amended(struct qb_io *io, struct qb_plan *plan, struct qb_file *file,
                      const struct qb_info *wanted, const struct qb_content *before,
                      struct qb_verify_header *how, struct qb_err *err)
{
    struct qb_image now = {0};
    int r;

    if (before)
        qb_file_drop_cache(file);
    if (before && qb_data_is_open(plan))
        qb_file_drop_cache(plan->in.data);
    r = qb_verify_header(io, plan, file, how, err);
    if (r == 0 && qb_image_open(io, file, &now, err) < 0)
        r = -1;
    else if (r == 0) {
        r = verify_image(io, plan, &now, wanted, before, err);
        qb_image_close(&now);
    }
    qb_file_drop_head(file);
    return r < 0 ? blame(err) : 0;
}
