/* Tells whether a manifest is still the one that a run was begun with, but for its limits: by
 * fingerprints of its parts, so that a run keeps no text of it. */
#ifndef QB_MANIFEST_OUTLINE_H
#define QB_MANIFEST_OUTLINE_H

#include "job/job.h"
#include "manifest/yaml.h"

/* Notes the parts of the tree in the batch: each key of the top level but `limits`, or, where that
 * is a mapping, each key in it, and each entry of a list that is short.  false when memory is
 * short.
 */
bool qb_outline_note(const struct qb_node *root, struct qb_batch *batch);

/* Names the first parts in which both differ, with their lines in `now`: "policy.on_error (line 5),
 * images".  false: they are the same. */
enum { QB_OUTLINE_TEXT = 400 };
bool qb_outline_differs(const struct qb_batch *was, const struct qb_batch *now,
                        char out[QB_OUTLINE_TEXT]);

#endif
