/* Turns request and image into the target, the image as it shall be, or into a refusal.  Everything
 * that the header, and a snapshot table in memory, can decide is decided here, by the rules
 * (rule.h); nothing is read and nothing is written. */
#ifndef QB_PLAN_TARGET_H
#define QB_PLAN_TARGET_H

#include "image/image.h"

enum qb_rule_id {
#define QB_RULE(name) QB_RULE_##name,
#include "plan/rules.def"
#undef QB_RULE
    QB_N_RULES
};

/* How much of the image a plan has to read, and to rewrite. */
enum qb_reach {
    QB_REACH_HEADER, /* the header's sector, and a backing name past it */
    QB_REACH_LOOK,   /* ... and a census is taken, for rules that may refuse what it finds */
    QB_REACH_TABLES, /* ... and tables and refcounts are rewritten */
};

struct qb_target {
    struct qb_header header;  /* as it shall be; pointers to moved tables are set by the plan */
    const char *backing_name; /* "" = none; the request's or the image's string */
    const char *backing_fmt;
    bool name_changes;
    const char *data_name; /* the external data file's; "" = none, or not named */
    bool data_name_changes;
    bool exts_change;     /* the header extensions are rewritten */
    bool bitmaps_change;  /* ... with the bitmaps extension as `bitmaps` says */
    bool bitmaps_dropped; /* ... because version 2 has none */
    struct {
        uint32_t n;                                /* 0: the extension goes */
        uint64_t directory_offset, directory_size; /* bytes; set by the rule, once it has a place */
    } bitmaps;
    bool rebuild_counts; /* refcounts and COPIED flags on disk are ignored, and computed from the
                            tables */
    bool raise_counts;   /* refcounts that are too low are raised, in blocks that are new where the
                            image has no usable ones, and COPIED flags follow */
    bool correct_copied; /* COPIED flags that do not fit are corrected */
    uint8_t *deleted;    /* one a snapshot of the image, 1: it is deleted; NULL: all stay; owned */
    enum qb_reach reach;
    uint32_t works; /* a bit for each rule that changes something; 0: nothing changes at all */
};

/* Fills *out, or refuses; see struct qb_target.  QB_E_INTERNAL when two rules change one field.  A
 * request about snapshots needs the snapshot table in memory.  Free *out unless refused. */
int qb_target_resolve(const struct qb_image *img, const struct qb_request *rq,
                      struct qb_target *out, struct qb_err *err);
void qb_target_free(struct qb_target *t);

/* Whether this snapshot of the image as it is, counted from 0, is one of the target's. */
static inline bool qb_target_keeps(const struct qb_target *t, size_t snapshot)
{
    return !t->deleted || !t->deleted[snapshot];
}

/* What `qemu-img info` will print once the target is reached. */
void qb_target_info(const struct qb_image *img, const struct qb_target *t, struct qb_info *info);

/* Differences between the two headers, whichever rule caused them. */
static inline bool qb_target_resizes(const struct qb_image *img, const struct qb_target *t)
{
    return t->header.size != img->header.size;
}

static inline bool qb_target_new_width(const struct qb_image *img, const struct qb_target *t)
{
    return t->header.refcount_order != img->header.refcount_order;
}

#endif
