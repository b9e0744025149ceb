/* A rule is what one amend key, or one kind of work, asks of an image and of a plan: one file,
 * rule_NAME.c, and one row of rules.def.  Planning calls the hooks of all rules, stage by stage, in
 * the order of the rows, and merges what they ask for; it knows none of them by name, and neither
 * do the append, verification, dry runs and reports, which read the plan.
 *
 * A hook that a rule does not need is NULL.  Hooks return 0, or -1 with *err filled (resolve: see
 * there); each refusal is made in one of them, before anything is written.  The hooks stand here in
 * the order in which they are called. */
#ifndef QB_AMEND_RULE_H
#define QB_AMEND_RULE_H

#include "amend/target.h"
#include "qcow2/l2.h"

struct qb_plan;
struct qb_new_table;
struct qb_visit;

/* What becomes of L2 entries. */
enum qb_fate {
    QB_FATE_KEEP,       /* they stay what they are in the source table */
    QB_FATE_ZERO,       /* plain zero clusters */
    QB_FATE_UNALLOCATE, /* nothing */
    QB_FATE_NEW_ZEROS,  /* each gets the next cluster of the run of new zeros */
    QB_FATE_APPENDED,   /* each gets the cluster that the plan appends as number `source` */
    QB_FATE_DISPUTED,   /* two rules have decided, differently: no plan comes of it */
};

/* The entries [first, first + n) of one L2 table: of one kind in the source, and with one fate. */
struct qb_entries {
    uint64_t first, n;
    enum qb_kind kind; /* in the source table */
    enum qb_fate fate;
    size_t source; /* QB_FATE_APPENDED: of plan->contents */
};

typedef void qb_decide_fn(const struct qb_plan *plan, const struct qb_new_table *t,
                          struct qb_entries *e);

typedef int qb_plan_hook(struct qb_plan *plan, struct qb_err *err);

struct qb_rule {
    const char *name;

    /* ---- the header: nothing is read ---- */

    /* Sets what the request asks of the header, its names and extensions in *t, where earlier rules
     * have set theirs.  1: that changes the image; 0: it does not; -1: refused. */
    int (*resolve)(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err);

    /* Looks at the target as all rules have made it, unless nothing changes at all. */
    int (*judge)(const struct qb_image *img, const struct qb_request *rq, const struct qb_target *t,
                 struct qb_err *err);

    /* ---- the layers: the snapshot table is in memory ---- */

    /* Reads what the rule must know, sets what it asks of the active L1 table (plan->active), has
     * bytes appended (qb_plan_append_bytes), and raises plan->target.reach. */
    qb_plan_hook *probe;

    /* ---- from QB_REACH_LOOK on: the census was taken and is sound ---- */

    /* Looks at the census, and may change the counts to start from. */
    qb_plan_hook *check;

    /* ---- from QB_REACH_TABLES on ---- */

    /* Takes away references that are not those of L2 tables (release.h). */
    qb_plan_hook *release;

    /* Tables that the active layer loses (qb_new_drop) or gets for itself (qb_new_split). */
    int (*layers)(struct qb_visit *v, struct qb_err *err);

    /* Tables that are written anew for all layers that have them (qb_new_replace). */
    int (*tables)(struct qb_visit *v, struct qb_err *err);

    /* Before a table is counted: reads whatever the next two have to know about it beyond the plan;
     * only where `looks` says so. */
    bool (*looks)(const struct qb_plan *plan);
    int (*look)(struct qb_visit *v, struct qb_new_table *t, const uint8_t *source,
                struct qb_err *err);

    /* Decides about entries of a table that is written anew: sets e->fate, and makes e->n smaller
     * where that fate does not reach to the end.  What rules before this one have decided is in
     * e->fate: KEEP and ZERO may be turned into something else, the other fates are final.  Called
     * for counting and for filling alike, so the answer depends on nothing but the plan.  First
     * comes `entries` of the rules that change the image: what the guest is to have there; then
     * `encode` of all rules: how the target's format says that. */
    qb_decide_fn *entries, *encode;

    /* ---- once it is committed ---- */

    /* Looks at the amended image as it is on disk; QB_E_VERIFY when it is not as planned. */
    int (*verify)(struct qb_io *io, const struct qb_plan *plan, const struct qb_image *now,
                  struct qb_err *err);

    /* Adds to the report of a plan that would change something. */
    void (*report)(const struct qb_plan *plan, struct qb_result *result);

    /* Frees what the rule's own state (qb_plan_own) holds for planning and the append.  May be
     * called twice. */
    void (*drop)(void *own);
};

#define QB_RULE(name) extern const struct qb_rule qb_rule_##name;
#include "amend/rules.def"
#undef QB_RULE

extern const struct qb_rule *const qb_rules[QB_N_RULES];

/* Whether the rule changes the image. */
static inline bool qb_works(const struct qb_target *t, enum qb_rule_id rule)
{
    return t->works >> rule & 1;
}

static inline bool qb_asked(const struct qb_request *rq, enum qb_key key)
{
    return rq->set & (unsigned)key;
}

static inline const char *qb_text_of(const char *s)
{
    return s ? s : "";
}

#define QB_REFUSE(...) qb_fail(err, QB_E_REFUSED, QB_NOWHERE, __VA_ARGS__)
#define QB_CANNOT(...) qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE, __VA_ARGS__)

#endif
