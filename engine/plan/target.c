#include "plan/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/rule.h"

/* The header's fields that rules set.  Bits of one field may be those of several rules. */
enum { N_SCALARS = 5, N_FIELDS = 8 };

static const char *const field_names[N_FIELDS] = {
    "version",      "size",         "refcount_order", "compression_type",
    "nb_snapshots", "incompatible", "compatible",     "autoclear"};

static void fields_of(const struct qb_header *h, uint64_t *out)
{
    const uint64_t fields[N_FIELDS] = {h->version,          h->size,         h->refcount_order,
                                       h->compression_type, h->nb_snapshots, h->incompatible,
                                       h->compatible,       h->autoclear};

    memcpy(out, fields, sizeof(fields));
}

/* Two rules contradict each other if the later one changes a field that the earlier one has
 * changed. */
static int claim(const struct qb_rule *rule, const uint64_t *before, const struct qb_header *h,
                 uint64_t *claimed, struct qb_err *err)
{
    uint64_t after[N_FIELDS];

    fields_of(h, after);
    if (memcmp(before, after, sizeof(after)) == 0) /* most rules, most of the time */
        return 0;
    for (unsigned i = 0; i < N_FIELDS; i++) {
        uint64_t changed = before[i] ^ after[i];

        if (changed && i < N_SCALARS)
            changed = UINT64_MAX;
        if (changed & claimed[i])
            return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE,
                           "the rule of %s changes the header's %s once more", rule->name,
                           field_names[i]);
        claimed[i] |= changed;
    }
    return 0;
}

static int resolve(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err)
{
    uint64_t claimed[N_FIELDS] = {0}, before[N_FIELDS];

    if ((img->header.incompatible & QB_INCOMPAT_CORRUPT) && !qb_mends(rq, QB_REPAIR_FLAGS))
        return qb_fail(err, QB_E_CORRUPT, offsetof(struct qb_disk_header, incompatible),
                       "the image is marked corrupt");
    for (unsigned i = 0; i < QB_N_RULES; i++) {
        int r;

        fields_of(&t->header, before);
        r = qb_rules[i]->resolve ? qb_rules[i]->resolve(img, rq, t, err) : 0;
        if (r < 0 || claim(qb_rules[i], before, &t->header, claimed, err) < 0)
            return -1;
        t->works |= (uint32_t)r << i;
    }
    t->header.autoclear &= QB_AUTOCLEAR_KNOWN;
    for (unsigned i = 0; t->works && i < QB_N_RULES; i++)
        if (qb_rules[i]->judge && qb_rules[i]->judge(img, rq, t, err) < 0)
            return -1;
    return 0;
}

int qb_target_resolve(const struct qb_image *img, const struct qb_request *rq,
                      struct qb_target *out, struct qb_err *err)
{
    int r;

    *out = (struct qb_target){.header = img->header,
                              .backing_name = img->backing_name,
                              .backing_fmt = img->backing_fmt,
                              .data_name = img->data_name};
    r = resolve(img, rq, out, err);
    if (r < 0)
        qb_target_free(out);
    return r;
}

void qb_target_free(struct qb_target *t)
{
    free(t->deleted);
    t->deleted = NULL;
}

void qb_target_info(const struct qb_image *img, const struct qb_target *t, struct qb_info *info)
{
    const struct qb_header *h = &t->header;

    qb_image_info(img, info);
    info->format = "qcow2";
    info->cluster_size = img->geom.cluster_size;
    info->version = h->version;
    info->virtual_size = h->size;
    info->refcount_bits = 1u << h->refcount_order;
    info->lazy_refcounts = h->compatible & QB_COMPAT_LAZY_REFCOUNTS;
    info->extended_l2 = h->incompatible & QB_INCOMPAT_EXTENDED_L2;
    info->corrupt = h->incompatible & QB_INCOMPAT_CORRUPT;
    info->dirty = h->incompatible & QB_INCOMPAT_DIRTY;
    info->zstd = h->compression_type == 1;
    info->compression_type = qb_image_compression(h);
    info->nb_snapshots = h->nb_snapshots;
    info->nb_bitmaps = t->bitmaps_change ? t->bitmaps.n : info->nb_bitmaps;
    info->has_backing_file = t->backing_name[0];
    info->backing_file = t->backing_name;
    info->backing_fmt = t->backing_fmt;
    info->data_file = t->data_name;
    info->data_file_raw = h->autoclear & QB_AUTOCLEAR_DATA_FILE_RAW;
}
