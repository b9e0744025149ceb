#include "plan/plan.h"

#include <string.h>

#include "io/reserve.h"
#include "plan/raw.h"
#include "plan/recode.h"

#define SHARE_CAP 60000u /* leaves a margin below 65,535 for future snapshots */

/* What only a plan has that took a census. */
static void free_tables(struct qb_plan *plan)
{
    for (size_t i = 0; i < plan->place.steps.n; i++)
        free(plan->place.steps.items[i].bytes);
    qb_vec_each (t, &plan->new_tables.list) {
        free(t->deferred);
        qb_vec_free(&t->repacked);
    }
    qb_recoder_free(qb_take(&plan->recoder));
    qb_counts_free(&plan->moves.pinned);
    qb_counts_free(&plan->moves.bits);
    qb_vec_free(&plan->place.steps);
    qb_vec_free(&plan->new_tables.list);
    qb_vec_free(&plan->conversion.list);
    free(plan->conversion.slots);
    qb_vec_free(&plan->zeros.shared);
    qb_vec_free(&plan->zeros.extents);
    qb_vec_free(&plan->blocks.list);
    qb_census_free(&plan->census);
    free(plan->new_tables.of);
    free(plan->new_tables.gone);
    free(plan->place.l1_moved);
    free(plan->place.reftable);
    free(plan->blocks.touched);
    memset(&plan->census, 0, sizeof(plan->census));
    plan->new_tables.of = NULL;
    plan->conversion.slots = NULL;
    plan->new_tables.n_splits = 0;
    plan->new_tables.gone = plan->blocks.touched = NULL;
    plan->place.l1_moved = plan->place.reftable = NULL;
}

void qb_plan_free_append(struct qb_plan *plan)
{
    free(qb_take(&plan->data.bytes));
    qb_vec_each (c, &plan->contents)
        free(c->bytes);
    qb_vec_free(&plan->contents);
    for (unsigned i = 0; i < QB_N_RULES; i++)
        if (plan->own[i] && qb_rules[i]->drop)
            qb_rules[i]->drop(plan->own[i]);
    if (plan->counted)
        free_tables(plan);
}

void qb_plan_free(struct qb_plan *plan)
{
    qb_plan_free_append(plan);
    for (unsigned i = 0; i < QB_N_RULES; i++)
        if (plan->own[i])
            free(qb_take(&plan->own[i]));
    qb_target_free(&plan->target);
    if (plan->below.chain.links)
        qb_chain_close(&plan->below.chain);
    qb_vec_free(&plan->append_ranges);
    qb_proof_free(&plan->proof);
    if (!plan->counted)
        return;
    qb_vec_free(&plan->freed.punches);
    qb_vec_free(&plan->moves.runs);
    qb_vec_free(&plan->moves.extents);
    qb_vec_free(&plan->moves.pieces);
    qb_vec_free(&plan->moves.packed);
    qb_vec_free(&plan->place.room);
    qb_counts_free(&plan->kept.counts);
}

int qb_plan_append_bytes(struct qb_plan *plan, struct qb_new_bytes bytes, size_t *index,
                         struct qb_err *err)
{
    *index = plan->contents.n;
    if (qb_vec_push(&plan->contents, bytes))
        return 0;
    free(bytes.bytes);
    return qb_fail_memory(err);
}

bool qb_plan_lacks_disk_sizes(const struct qb_plan *plan)
{
    const struct qb_snapshot_table *t = &plan->in.img->snapshots;

    for (size_t i = 0; i < t->list.n; i++)
        if (qb_target_keeps(&plan->target, i) && !t->list.items[i].has_disk_size)
            return true;
    return false;
}

void *qb_plan_own(struct qb_plan *plan, enum qb_rule_id rule, size_t size, struct qb_err *err)
{
    if (!plan->own[rule])
        plan->own[rule] = calloc(1, size);
    if (!plan->own[rule])
        qb_fail_memory(err);
    return plan->own[rule];
}

/* What the request does not have mended must be right. */
static bool is_sound(const struct qb_plan *plan)
{
    const struct qb_target *t = &plan->target;
    const struct qb_census *c = &plan->census;

    if (t->raise_counts ? qb_census_tables_are_broken(c) : qb_census_is_broken(c))
        return false;
    if (t->rebuild_counts || t->raise_counts)
        return true;
    return c->n_low == 0 && (c->n_copied == 0 || t->correct_copied);
}

static bool only_bitmaps(const struct qb_census *c)
{
    return c->n_bad && c->n_bad == c->n_odd_bitmaps && !c->n_overlaps;
}

/* Only a census that agrees with the image's own tables is used; a dirty image's refcounts may have
 * any value, but its tables must be sound all the same. */
static int trust_census(const struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_census *c = &plan->census;
    bool mends = qb_asked(plan->in.rq, QB_KEY_REPAIR) && plan->in.rq->repair;
    bool broken = qb_census_tables_are_broken(c);
    const struct qb_err *first = broken && mends ? &c->first_lasting : &c->first;
    const char *hint = only_bitmaps(c)               ? "; repair=bitmaps removes it"
                       : broken                      ? mends ? "; repair cannot mend that" : ""
                       : c->n_low || c->n_bad_blocks ? "; repair=refcounts mends it"
                                                     : "; repair=flags mends it";

    if (!is_sound(plan))
        return qb_fail(err, first->code, first->offset, "%.200s%s", first->text, hint);
    for (size_t i = 0; i < c->tables.n; i++)
        if (c->tables.items[i].crossed)
            return qb_fail(err, QB_E_CORRUPT, c->tables.items[i].offset,
                           "an L2 table is used for two different parts of the disk");
    return 0;
}

/* Calls one hook of all rules. */
static int each_rule(struct qb_plan *plan, size_t hook, struct qb_err *err)
{
    for (unsigned i = 0; i < QB_N_RULES; i++) {
        qb_plan_hook *fn;

        memcpy(&fn, (const char *)qb_rules[i] + hook, sizeof(fn));
        if (fn && fn(plan, err) < 0)
            return -1;
    }
    return 0;
}

#define EACH_RULE(plan, hook, err) each_rule(plan, offsetof(struct qb_rule, hook), err)

static int take_census(struct qb_plan *plan, struct qb_err *err)
{
    uint64_t limit = plan->in.rq->memory_limit ? plan->in.rq->memory_limit : QB_CENSUS_MEMORY;

    plan->counted = true;
    limit -= qb_min(qb_image_memory(plan->in.img), limit - 1);
    if (plan->in.img->raw ? qb_raw_census(plan, limit, err) < 0
                          : qb_census_take_all(plan->in.io, plan->in.img, limit, &plan->skips,
                                               &plan->census, err) < 0 ||
                                trust_census(plan, err) < 0)
        return -1;
    plan->image_end = plan->census.end;
    return EACH_RULE(plan, check, err);
}

static int plan_from_census(struct qb_plan *plan, struct qb_clusters *clusters, struct qb_err *err);

/* Calls the hook `check` of the rules, for a plan that needs the census for nothing else, unless
 * one of them finds that it does. */
static int look(struct qb_plan *plan, struct qb_clusters *clusters, struct qb_err *err)
{
    int r = take_census(plan, err);

    if (r == 0 && plan->target.reach == QB_REACH_TABLES)
        return plan_from_census(plan, clusters, err);
    *clusters = plan->census.clusters;
    qb_census_free(&plan->census);
    memset(&plan->census, 0, sizeof(plan->census));
    return r;
}

/* Whether the file keeps its allocation when tables are appended.  To reclaim what is reserved, it
 * is cut: a file system may itself have reserved space past the end of a file that grew. */
static int keep_reserved(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_file *file = plan->in.img->file;
    bool asked = plan->reclaim.asked && !file->is_block_device;

    if (asked && plan->in.rq->reclaim_reserved)
        plan->reclaim.past_end = true;
    else if (asked && plan->reclaim.end > plan->place.end)
        plan->size.reserved = true; /* the new tables go to the reserved tail */
    else if (!plan->reclaim.asked || !plan->in.rq->reclaim_reserved)
        return qb_file_is_reserved(plan->in.io, file, qb_raw_length(plan->in.img),
                                   &plan->size.reserved, err);
    return 0;
}

static int plan_from_census(struct qb_plan *plan, struct qb_clusters *clusters, struct qb_err *err)
{
    if (EACH_RULE(plan, release, err) < 0)
        return -1;
    *clusters = plan->census.clusters;
    if (qb_new_tables_plan(plan, err) < 0 || qb_layout_make(plan, err) < 0 ||
        EACH_RULE(plan, placed, err) < 0 || qb_plan_finish_punches(plan, clusters, err) < 0)
        return -1;
    qb_vec_each (t, &plan->new_tables.list) {
        clusters->expanded += t->n_new;
        clusters->copied += t->n_copied + t->repacked.n;
    }
    return plan->rewrites ? keep_reserved(plan, err) : 0;
}

static int plan_sector(struct qb_plan *plan, struct qb_err *err)
{
    struct qb_target *t = &plan->target;

    memcpy(plan->old_sector, plan->in.img->raw ? plan->in.img->raw : plan->in.img->head, QB_SECTOR);
    t->header.l1_size = plan->active.size;
    if (qb_sector_compose(plan->in.img, t, plan->rewrites, &plan->sector, err) < 0 ||
        qb_plan_proof(plan, err) < 0 || qb_data_plan(plan, err) < 0)
        return -1;
    return qb_plan_fit(plan, err);
}

static bool gives_back(const struct qb_plan *plan)
{
    return plan->reclaim.asked &&
           (plan->freed.punches.n || plan->reclaim.past_end || plan->size.final < plan->size.old);
}

bool qb_plan_uses_room(const struct qb_plan *plan)
{
    const struct qb_target *t = &plan->target;

    if (plan->in.img->raw) /* what is unallocated is the guest's disk all the same */
        return false;
    if (plan->moves.from) /* only where the refcounts are right */
        return true;
    return (plan->in.img->file->is_block_device || plan->in.rq->room_first) && !t->rebuild_counts &&
           !t->raise_counts && !plan->census.n_low && !plan->census.n_bad_blocks;
}

bool qb_plan_is_void(const struct qb_plan *plan)
{
    return !plan->target.works || (!plan->appends && !gives_back(plan) &&
                                   memcmp(plan->sector.bytes, plan->old_sector, QB_SECTOR) == 0);
}

static int make(const struct qb_plan_in *in, const struct qb_target *target, struct qb_plan *plan,
                struct qb_clusters *clusters, struct qb_err *err)
{
    const struct qb_image *img = in->img;
    const struct qb_request *rq = in->rq;

    plan->in = *in;
    plan->target = *target;
    qb_header_geom(&target->header, &plan->geom);
    plan->zeros.share_cap = SHARE_CAP;
    plan->zeros.how = rq->zero_method;
    plan->kept.counts.memory_limit = rq->memory_limit;
    plan->active = (struct qb_active_l1){.keep = UINT64_MAX, .size = img->header.l1_size};
    if (EACH_RULE(plan, probe, err) < 0)
        return -1;
    if (plan->target.reach == QB_REACH_LOOK) {
        if (look(plan, clusters, err) < 0)
            return -1;
    } else if (plan->target.reach == QB_REACH_TABLES) {
        if (take_census(plan, err) < 0 || plan_from_census(plan, clusters, err) < 0)
            return -1;
    }
    return plan_sector(plan, err);
}

int qb_plan_make(const struct qb_plan_in *given, const struct qb_target *target,
                 struct qb_plan *plan, struct qb_clusters *clusters, struct qb_err *err)
{
    struct qb_plan_in in = *given;
    int r = make(&in, target, plan, clusters, err);

    while (r == 0 && plan->moves.from && !plan->moves.gains) {
        /* Whatever would move, the image would not end earlier: the plan without. */
        in.stays = plan->moves.pieces.n ? QB_STAYS_PACKED : QB_STAYS_ALL;
        memset(&plan->target, 0, sizeof(plan->target));
        qb_plan_free(plan);
        memset(plan, 0, sizeof(*plan));
        r = make(&in, target, plan, clusters, err);
    }
    return r;
}
