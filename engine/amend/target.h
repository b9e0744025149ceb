/* Request + image -> what the image shall be, or a refusal.  Everything that the header alone can
 * decide is decided here, by the rules (rule.h); nothing is read and nothing is written. */
#ifndef QB_AMEND_TARGET_H
#define QB_AMEND_TARGET_H

#include "qcow2/image.h"

enum qb_rule_id {
#define QB_RULE(name) QB_RULE_##name,
#include "amend/rules.def"
#undef QB_RULE
    QB_N_RULES
};

/* How much of the image a plan has to read, and to write anew. */
enum qb_reach {
    QB_REACH_HEADER, /* the header's sector, and a backing name past it */
    QB_REACH_LOOK,   /* ... and a census is taken, for rules that may refuse what it finds */
    QB_REACH_TABLES, /* ... and tables and refcounts are written anew */
};

struct qb_target {
    struct qb_header header;  /* as it shall be; pointers to moved tables are set by the plan */
    const char *backing_name; /* "" = none; the request's or the image's string */
    const char *backing_fmt;
    bool name_changes;
    bool exts_change;    /* the header extensions are composed anew */
    bool drop_bitmaps;   /* ... without the persistent bitmaps */
    bool rebuild_counts; /* the refcounts on disk mean nothing, COPIED flags neither */
    enum qb_reach reach;
    uint32_t works; /* a bit for each rule that changes something; 0: nothing changes at all */
};

/* Fills *out, or refuses; see struct qb_target.  QB_E_INTERNAL when two rules change one field. */
int qb_target_resolve(const struct qb_image *img, const struct qb_request *rq,
                      struct qb_target *out, struct qb_err *err);

/* What `qemu-img info` will say once the target is reached. */
void qb_target_info(const struct qb_image *img, const struct qb_target *t, struct qb_info *info);

/* What the two headers say, whichever rule it was. */
static inline bool qb_target_resizes(const struct qb_image *img, const struct qb_target *t)
{
    return t->header.size != img->header.size;
}

static inline bool qb_target_new_width(const struct qb_image *img, const struct qb_target *t)
{
    return t->header.refcount_order != img->header.refcount_order;
}

#endif
