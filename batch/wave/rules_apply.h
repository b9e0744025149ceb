/* Applies the rules of an image's entry, once its header is known. */
#ifndef QB_WAVE_RULES_APPLY_H
#define QB_WAVE_RULES_APPLY_H

#include "amend/amend.h"
#include "job/job.h"

/* Whether the amend, whose header was read, continues: `when` and `expect` hold.  Else its result
 * is skipped or failed, with the reason.  *rq, a copy of the job's request, gets the backing names
 * that the rules compute; *name is what it points to then, to be freed after it. */
bool qb_meant_begins(const struct qb_job *job, struct qb_io *io, struct qb_amend *amend,
                     struct qb_request *rq, char **name);

/* Whether `after` holds for the amended image, as in the amend's result; else the result is failed.
 * Before the first write (`at_end` false) the conditions on the file are left out. */
bool qb_meant_ends(const struct qb_job *job, struct qb_amend *amend, bool at_end);

#endif
