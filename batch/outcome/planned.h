/* What a saved plan has of an image, and whether that is still what an amend would do.
 *
 * An amend that is applied from a saved plan is planned once more.  It is carried out only if the
 * image is as the plan found it, and is changed in the same way, at about the same cost. */
#ifndef QB_OUTCOME_PLANNED_H
#define QB_OUTCOME_PLANNED_H

#include "base/err.h"
#include "outcome/outcome.h"

struct qb_planned {
    uint64_t before, after; /* fingerprints of the image's properties; 0: not read that far */
    uint64_t work;          /* fingerprint of what else is done */
    uint64_t bytes;         /* that the amend takes */
    enum qb_status status;
    enum qb_code code;   /* unless it is to be amended, or is as requested */
    const char *message; /* with a code; of the batch */
};

/* Whether the plan has the image amended, or found it as requested. */
static inline bool qb_planned_applies(const struct qb_planned *p)
{
    return p->status == QB_STATUS_WOULD_CHANGE || p->status == QB_STATUS_UNCHANGED;
}

/* Fills in what the result of a dry run says; `bytes`: what the amend takes. */
void qb_planned_note(const struct qb_result *result, uint64_t bytes, struct qb_planned *out);

/* More than this is not what somebody agreed to. */
static inline uint64_t qb_planned_most(uint64_t bytes)
{
    uint64_t more = bytes / 10 + (UINT64_C(1) << 20);

    return bytes > UINT64_MAX - more ? UINT64_MAX : bytes + more;
}

/* Whether an amend of which `now` says what it would do is what was planned.  An image that is
 * already what the plan makes of it, so that nothing would be done, is not stale.  -1 with *err. */
int qb_planned_check(const struct qb_planned *planned, const struct qb_planned *now,
                     struct qb_err *err);

#endif
