/* Reads what an entry of the manifest has in addition to the amend keys (rules.h). */
#ifndef QB_MANIFEST_RULES_READ_H
#define QB_MANIFEST_RULES_READ_H

#include "job/job.h"
#include "job/rules.h"
#include "manifest/yaml.h"

/* Reads one key of an entry, or of `defaults`, into *rules, and replaces its value there.  false:
 * the key is not one of these.  Mistakes go to *diags. */
bool qb_rules_read(const struct qb_node *value, struct qb_batch *batch, struct qb_rules *rules,
                   struct qb_diags *diags);

#endif
