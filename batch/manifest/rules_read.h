/* Reads what an entry of the manifest says beside the amend keys (rules.h). */
#ifndef QB_MANIFEST_RULES_READ_H
#define QB_MANIFEST_RULES_READ_H

#include "job/job.h"
#include "job/rules.h"
#include "manifest/yaml.h"

/* Reads one key of an entry, or of `defaults`, into *rules, where it takes the place of what stood
 * there.  false: the key is none of these.  Mistakes go to *diags. */
bool qb_rules_read(const struct qb_node *value, struct qb_batch *batch, struct qb_rules *rules,
                   struct qb_diags *diags);

#endif
