/* The judge's part for raw disks that become images (judge.h). */
#ifndef QB_TESTS_JUDGE_RAW_H
#define QB_TESTS_JUDGE_RAW_H

#include "judge.h"

bool judge_is_raw(const struct judge *j);

/* These do what judge.h says of the calls without "raw" in their names; the log is that of a
 * machine on which nothing has run. */
void judge_raw_begin(struct judge *j, struct qb_mem_log *log);
void judge_raw_state(struct judge *j, const struct image_bytes *state, enum verdict allowed,
                     const char *at);

/* `cut`: what was appended must have been cut off. */
void judge_raw_untouched(struct judge *j, const struct image_bytes *now, bool cut, const char *at);

#endif
