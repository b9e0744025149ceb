/* Declares what the two halves of an amend share: amend.c opens and plans, amend_epochs.c writes.
 */
#ifndef QB_AMEND_AMEND_STATE_H
#define QB_AMEND_AMEND_STATE_H

#include "amend/amend.h"
#include "plan/plan.h"
#include "content/content.h"
#include "opener/look.h"

struct qb_amend {
    char *path;
    struct qb_file file;
    struct qb_file data; /* the external data file, where the plan needs it; else fd is -1 */
    struct qb_image img;
    bool is_claimed; /* see qb_amend_give_file */
    bool have_image;
    struct qb_plan plan;
    bool have_plan;
    struct qb_content content; /* the guest's view before the amend */
    const struct qb_request *rq;
    const struct qb_chain *lent;
    struct qb_err err;
    struct qb_info before, after;
    struct qb_result result; /* borrows from the members above until the release */
    bool may_extend;         /* see qb_amend_may_extend */
    bool from_disk;          /* see qb_amend_verify_from_disk */
    bool flipped;
    bool released;          /* only the result is left */
    struct qb_amend *round; /* owned: the commit in progress, of those that follow the first (see
                               rounds.c), which has the file meanwhile; NULL: none */
    struct qb_request rest; /* what the rounds are to do */
    bool more;              /* there may be another round */
};

/* The amend, or its round that is in progress. */
static inline struct qb_amend *qb_amend_now(struct qb_amend *a)
{
    return a->round ? a->round : a;
}

static inline const struct qb_amend *qb_amend_view(const struct qb_amend *a)
{
    return a->round ? a->round : a;
}

/* Verification failed after the commit: hands out both header sectors so that the caller can roll
 * back.  Returns -1. */
int qb_amend_mistrust(struct qb_amend *a);

/* Sets the status, and returns -1. */
int qb_amend_failed(struct qb_amend *a);

#endif
