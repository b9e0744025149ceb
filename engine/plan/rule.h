/* A rule is what one amend key, or one kind of work, requires of an image and of a plan: one file,
 * rule_NAME.c, and one row of rules.def.  Planning calls the hooks of all rules, stage by stage, in
 * the order of the rows, and merges what they require; it knows none of them by name, and neither
 * do the append, verification, dry runs and reports, which read the plan.
 *
 * A hook that a rule does not need is NULL.  Hooks return 0, or -1 with *err filled (resolve: see
 * there); each refusal is made in one of them, before anything is written.  The hooks are listed in
 * the order in which they are called. */
#ifndef QB_PLAN_RULE_H
#define QB_PLAN_RULE_H

#include "plan/target.h"
#include "qcow2/l2.h"

struct qb_plan;
struct qb_new_table;
struct qb_visit;

/* The new content of L2 entries. */
enum qb_fate {
    QB_FATE_KEEP,       /* as in the source table */
    QB_FATE_ZERO,       /* plain zero clusters */
    QB_FATE_UNALLOCATE, /* unallocated */
    QB_FATE_NEW_ZEROS,  /* each gets the next cluster of the run of new zeros, and shows it */
    QB_FATE_NEW_PLACE,  /* extended L2: each that has no host cluster gets the next one of that run,
                           and shows what it would without (`shows`) */
    QB_FATE_APPENDED,   /* each gets the cluster that the plan appends as number `source` */
    QB_FATE_COPY,       /* each gets a new cluster of data, with what the guest reads there */
    QB_FATE_REPACK,     /* each, compressed, is compressed anew as the target has it (recode.h) */
    QB_FATE_IN_PLACE,   /* each gets the cluster of the external data file at its guest offset */
    QB_FATE_DISPUTED,   /* two rules have decided differently: planning fails with QB_E_INTERNAL */
};

/* The entries [first, first + n) of one L2 table: of one kind in the source, and with one fate. */
struct qb_entries {
    uint64_t first, n;
    enum qb_kind kind; /* in the source table */
    enum qb_fate fate;
    size_t source;      /* QB_FATE_APPENDED: of plan->contents */
    enum qb_fate shows; /* QB_FATE_NEW_PLACE: KEEP, ZERO or UNALLOCATE */
    uint64_t bitmap;    /* QB_FATE_IN_PLACE: its subclusters */
};

typedef void qb_decide_fn(const struct qb_plan *plan, const struct qb_new_table *t,
                          struct qb_entries *e);

typedef int qb_plan_hook(struct qb_plan *plan, struct qb_err *err);

struct qb_rule {
    const char *name;

    /* ---- the header: nothing is read.  Where the request is about snapshots, their table is in
     * memory ---- */

    /* Sets what the request changes in the header, its names and extensions in *t, where earlier
     * rules have set theirs.  1: that changes the image; 0: it does not; -1: refused. */
    int (*resolve)(const struct qb_image *img, const struct qb_request *rq, struct qb_target *t,
                   struct qb_err *err);

    /* Judges the target that all rules together have made; not called if nothing changes. */
    int (*judge)(const struct qb_image *img, const struct qb_request *rq, const struct qb_target *t,
                 struct qb_err *err);

    /* ---- the layers: the snapshot table is in memory ---- */

    /* Reads what the rule must know, sets what it requires of the active L1 table (plan->active),
     * adds bytes to append (qb_plan_append_bytes), and raises plan->target.reach. */
    qb_plan_hook *probe;

    /* ---- where the plan reads no table, and where nothing changes ---- */

    /* Reads what the request has the report answer for, since no census looks.  The snapshot table
     * may not be in memory yet. */
    int (*confirm)(struct qb_io *io, struct qb_image *img, const struct qb_request *rq,
                   struct qb_err *err);

    /* ---- from QB_REACH_LOOK on: the census was taken and is sound ---- */

    /* Judges the census, and may change the counts that the plan starts from. */
    qb_plan_hook *check;

    /* ---- from QB_REACH_TABLES on ---- */

    /* Drops references other than those of L2 tables (release.h). */
    qb_plan_hook *release;

    /* Notes tables that the active layer loses (qb_new_drop) or gets for itself (qb_new_split). */
    int (*layers)(struct qb_visit *v, struct qb_err *err);

    /* Notes tables that are rewritten for all layers that use them (qb_new_replace). */
    int (*tables)(struct qb_visit *v, struct qb_err *err);

    /* Before a table is counted: reads what `entries` and `encode` must know about it beyond the
     * plan; called only if `looks` returns true. */
    bool (*looks)(const struct qb_plan *plan);
    int (*look)(struct qb_visit *v, struct qb_new_table *t, const uint8_t *source,
                struct qb_err *err);

    /* Decides about entries of a table that is rewritten: sets e->fate, and makes e->n smaller
     * where that fate does not apply up to the end.  e->fate holds the decision of earlier rules:
     * KEEP and ZERO may be changed, UNALLOCATE only into a new cluster, and the other fates are
     * final.  Called both for counting and for filling, so the decision depends on nothing but the
     * plan.  First `entries` of the rules that
     * change the image: what the guest shall read there; then `encode` of all rules: how the
     * target's format expresses that. */
    qb_decide_fn *entries, *encode;

    /* Once everything that is appended has its place: sets what in the target's header or
     * extensions leads to what the rule has had appended. */
    qb_plan_hook *placed;

    /* In the append: computes one cluster, `at` bytes into plan->contents number `index`, which the
     * rule has had appended without bytes.  `to` is zeros.  Depends on nothing but the plan and
     * what the old image refers to. */
    int (*fill)(struct qb_io *io, const struct qb_plan *plan, size_t index, uint64_t at,
                uint8_t *to, struct qb_err *err);

    /* ---- once it is committed ---- */

    /* Checks the amended image as it is on disk; QB_E_VERIFY when it is not as planned. */
    int (*verify)(struct qb_io *io, const struct qb_plan *plan, const struct qb_image *now,
                  struct qb_err *err);

    /* Adds to the report of a plan that would change something. */
    void (*report)(const struct qb_plan *plan, struct qb_result *result);

    /* Frees what the rule's own state (qb_plan_own) holds.  May be called twice. */
    void (*drop)(void *own);
};

#define QB_RULE(name) extern const struct qb_rule qb_rule_##name;
#include "plan/rules.def"
#undef QB_RULE

extern const struct qb_rule *const qb_rules[QB_N_RULES];

/* Calls the hook `confirm` of all rules. */
int qb_rules_confirm(struct qb_io *io, struct qb_image *img, const struct qb_request *rq,
                     struct qb_err *err);

/* Whether the rule changes the image. */
static inline bool qb_works(const struct qb_target *t, enum qb_rule_id rule)
{
    return t->works >> rule & 1;
}

static inline bool qb_asked(const struct qb_request *rq, enum qb_key key)
{
    return rq->set & (unsigned)key;
}

/* Whether `repair` asks for one of these (bits of enum qb_repair). */
static inline bool qb_mends(const struct qb_request *rq, unsigned what)
{
    return qb_asked(rq, QB_KEY_REPAIR) && (rq->repair & what);
}

static inline const char *qb_text_of(const char *s)
{
    return s ? s : "";
}

#define QB_REFUSE(...) qb_fail(err, QB_E_REFUSED, QB_NOWHERE, __VA_ARGS__)
#define QB_CANNOT(...) qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE, __VA_ARGS__)

#endif
