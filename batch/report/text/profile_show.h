/* Shows which images do not fit a profile (job/profile.h): of one image each reason with its
 * source; of many the reasons, each with its images; and a manifest that mends what amends can. */
#ifndef QB_TEXT_PROFILE_SHOW_H
#define QB_TEXT_PROFILE_SHOW_H

#include "job/job.h"
#include "job/profile.h"
#include "record/groups.h"
#include "util/json.h"

/* An image's answer; `why_undecided` is the reason for those that are not decided, or NULL. */
struct qb_suited {
    enum qb_profile profile;
    struct qb_suits suits;
    const char *why_undecided;
};

/* The lines after those of the image. */
void qb_profile_print(FILE *f, const struct qb_suited *suited);

/* Adds the key "profile" to the image's object. */
void qb_profile_put(struct qb_json *o, const struct qb_suited *suited);

/* ---- many images ----------------------------------------------------------------------------- */

struct qb_profile_fleet {
    enum qb_profile profile;
    const struct qb_batch *batch;
    struct qb_groups groups;        /* by rule */
    uint16_t *broken;               /* of each image, owned; NULL: none was noted */
    uint64_t fit, unfit, undecided; /* images */
    bool incomplete;                /* memory was short */
};

void qb_profile_fleet_start(struct qb_profile_fleet *fleet, enum qb_profile profile,
                            const struct qb_batch *batch);
void qb_profile_fleet_free(struct qb_profile_fleet *fleet);
void qb_profile_fleet_add(struct qb_profile_fleet *fleet, size_t job, struct qb_suits suits);

void qb_profile_fleet_print(FILE *f, struct qb_profile_fleet *fleet); /* a line or more a reason */
void qb_profile_fleet_put(struct qb_json *summary, const struct qb_profile_fleet *fleet);

/* ---- profile_mend.c -------------------------------------------------------------------------- */

/* The images that an amend mends, as a manifest; false: there is none, and nothing was written. */
bool qb_profile_manifest(FILE *f, const struct qb_profile_fleet *fleet);

#endif
