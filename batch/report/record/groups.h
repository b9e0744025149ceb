/* Groups results with the same status, code and text.  Each group keeps its count and its first
 * images, so that memory does not grow with the fleet. */
#ifndef QB_RECORD_GROUPS_H
#define QB_RECORD_GROUPS_H

#include "base/vec.h"
#include "outcome/outcome.h"

enum { QB_GROUPS_MAX = 400 }; /* more texts of one status and code share a group without a text */

struct qb_group_member {
    size_t job;
    uint64_t offset; /* of the error, or QB_NOWHERE */
};

struct qb_group {
    unsigned status; /* enum qb_status; of a check, enum qb_verdict */
    enum qb_code code;
    char *text;      /* owned; NULL: of several texts, past QB_GROUPS_MAX groups */
    uint64_t n;      /* images */
    uint32_t digest; /* of the text */
    QB_VEC(struct qb_group_member) members; /* the first of them */
};

struct qb_groups {
    size_t keep; /* members of each group */
    QB_VEC(struct qb_group) list;
};

/* An image's result, as shown. */
struct qb_grouped {
    unsigned status;
    enum qb_code code;
    const char *text;
    struct qb_group_member member;
};

/* Adds an image; false when memory is short (and the image may be missing). */
bool qb_groups_add(struct qb_groups *groups, struct qb_grouped image);

/* By status, in its order, and within one the largest first. */
void qb_groups_sort(struct qb_groups *groups);

void qb_groups_free(struct qb_groups *groups);

#endif
