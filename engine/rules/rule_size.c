/* size: drops entries past the new end, copies the last cluster with zeros past the end, and sets
 * zero clusters where a longer backing file would show.  resize.c finds out what the image has
 * there. */
#include "plan/new_tables.h"
#include "rules/resize.h"
#include "plan/rule.h"
#include "base/sizing.h"
#include "base/units.h"

static int check_size(const struct qb_image *img, const struct qb_request *rq, uint64_t size,
                      struct qb_err *err)
{
    uint64_t old = img->header.size;
    char a[QB_TEXT_NUMBER], b[QB_TEXT_NUMBER];

    if (size == 0)
        return QB_REFUSE(
            "the new size is 0: a disk of no bytes is no use (qemu-img amend takes size=0 "
            "for \"not given\")");
    if (size % QB_SECTOR)
        return QB_REFUSE("the new size %llu is not a multiple of 512", (unsigned long long)size);
    if (size > INT64_MAX - img->geom.l1_span ||
        qb_geom_l1_needed(&img->geom, size) > QB_MAX_L1_BYTES / 8)
        return QB_REFUSE("the new size, %s, is too large for clusters of %s",
                         qb_text_size_exact(size, a),
                         qb_text_size_exact(img->geom.cluster_size, b));
    if (size < old && !rq->allow_shrink)
        return QB_REFUSE("shrinking from %s to %s is not allowed (policy.allow_shrink, --shrink)",
                         qb_text_size_exact(old, a), qb_text_size_exact(size, b));
    return 0;
}

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    uint64_t size;

    if (img->raw) /* the image that it becomes has the size already (raw.h) */
        return 0;
    if (!qb_sizing_of(rq, img->header.size, &size))
        return QB_REFUSE("the new size is above 2^64");
    if (size == img->header.size)
        return 0;
    t->header.size = size;
    return check_size(img, rq, size, err) < 0 ? -1 : 1;
}

/* Whether more than the header's size and L1 size changes. */
static bool changes_tables(const struct qb_plan *plan, const struct qb_resize *r)
{
    return r->drops_tables || r->cuts_table || r->copies || r->zeros.n || plan->active.moves ||
           (plan->target.header.version == 3 && qb_plan_lacks_disk_sizes(plan));
}

static int probe(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    struct qb_new_bytes last = {.len = img->geom.cluster_size,
                                .what = "the last cluster, zero past the disk's end"};
    struct qb_resize *r;

    if (!qb_works(&plan->target, QB_RULE_size))
        return 0;
    if (plan->target.header.size > img->header.size && qb_below_open(plan, err) < 0)
        return -1;
    /* A last cluster that is cut may have subclusters that show the backing file. */
    if (qb_plan_converts(plan) && plan->geom.l2_entry_size == 8 && !img->geom.external_data &&
        QB_MIN(plan->target.header.size, img->header.size) % img->geom.cluster_size &&
        qb_below_open_to_read(plan, err) < 0)
        return -1;
    r = qb_plan_own(plan, QB_RULE_size, sizeof(*r), err);
    if (!r || qb_resize_probe(plan, r, err) < 0)
        return -1;
    if (changes_tables(plan, r))
        plan->target.reach = QB_REACH_TABLES;
    last.bytes = qb_take(&r->copy_bytes);
    if (r->copies_in_place) {
        plan->data.bytes = last.bytes;
        plan->data.bytes_len = r->copy_part.end - r->copy_part.first;
        plan->data.bytes_at = r->copy_cluster * last.len + r->copy_part.first;
        return 0;
    }
    last.bitmap = r->copy_bitmap;
    return r->copies ? qb_plan_append_bytes(plan, last, &r->copy_source, err) : 0;
}

static int layers(struct qb_visit *v, struct qb_err *err)
{
    return v->plan->own[QB_RULE_size] ? qb_resize_tables(v, err) : 0;
}

/* A last cluster that must be copied. */
static bool copy(const struct qb_resize *r, uint64_t guest, struct qb_entries *e)
{
    if (!r->copies || r->copy_cluster < guest || r->copy_cluster >= guest + e->n)
        return false;
    if (r->copy_cluster > guest) {
        e->n = r->copy_cluster - guest; /* up to there, first */
        return false;
    }
    e->n = 1;
    e->fate = r->copies_in_place ? QB_FATE_IN_PLACE : QB_FATE_APPENDED;
    e->bitmap = r->copy_bitmap;
    e->source = r->copy_source;
    return true;
}

static void entries(const struct qb_plan *plan, const struct qb_new_table *t, struct qb_entries *e)
{
    const struct qb_resize *r = plan->own[QB_RULE_size];
    uint64_t l2_entries = plan->in.img->geom.l2_entries, cut = l2_entries;
    uint64_t guest = t->l1_index * l2_entries + e->first;
    size_t z;

    if (!t->split || !r || copy(r, guest, e))
        return;
    z = qb_resize_zeros_from(r, guest);
    if (t->l1_index == r->cut_l1 && r->cut_entry)
        cut = r->cut_entry;
    if (z < r->zeros.n && r->zeros.items[z].first <= guest) {
        e->n = QB_MIN(e->n, r->zeros.items[z].end - guest);
        e->fate = r->fills_in_place ? QB_FATE_IN_PLACE : QB_FATE_ZERO;
        e->bitmap = QB_ALL_ALLOCATED;
        return;
    }
    if (z < r->zeros.n)
        e->n = QB_MIN(e->n, r->zeros.items[z].first - guest);
    if (e->first < cut)
        e->n = QB_MIN(e->n, cut - e->first);
    else
        e->fate = QB_FATE_UNALLOCATE;
}

static int verify(struct qb_io *io, const struct qb_plan *plan, const struct qb_image *now,
                  struct qb_err *err)
{
    return plan->own[QB_RULE_size] ? qb_resize_verify(io, plan, now, err) : 0;
}

static void drop(void *own)
{
    qb_resize_free(own);
}

const struct qb_rule qb_rule_size = {
    .name = "size",
    .resolve = resolve,
    .probe = probe,
    .layers = layers,
    .entries = entries,
    .verify = verify,
    .drop = drop,
};
