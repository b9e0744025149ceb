/* What the digest of an amend is made of. */
#ifndef QB_TESTS_DIGEST_PARTS_H
#define QB_TESTS_DIGEST_PARTS_H

#include "amends.h"
#include "base/digest.h"

/* A line of the plan's description: its numbers.  `arg` is the hasher. */
void digest_line(void *arg, const char *line);

/* The bytes of the machine's first disk, and of its data file.  The folder of the backing files,
 * which has another name in each run, is left out. */
void digest_disk(struct qb_hasher *h, const struct qb_mem_log *log);

#endif
