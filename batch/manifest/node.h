/* What the sections of a manifest have in common: keys that are not theirs, and values of the wrong
 * kind. */
#ifndef QB_MANIFEST_NODE_H
#define QB_MANIFEST_NODE_H

#include "job/keys.h"
#include "manifest/yaml.h"

enum { QB_FIELDS_MAX = QB_KEYS_MAX }; /* names of one section */

/* The names of structure.def, lists that end with NULL: at the top, of rules beside the amend keys,
 * and of what files an entry means. */
extern const char *const qb_top_names[];
extern const char *const qb_rule_names[];
extern const char *const qb_entry_names[];

bool qb_names_have(const char *const *names, const char *name);

/* Complains about a key that the section does not have, in the words that help most.  `own` are the
 * section's names, a list that ends with NULL. */
int qb_field_unknown(const struct qb_node *value, const char *const *own, struct qb_diags *diags);

/* The same for a mapping whose names are used nowhere else. */
int qb_field_not_of(const struct qb_node *value, const char *const *own, struct qb_diags *diags);

/* The text of a scalar that has one, else NULL after a complaint. */
const char *qb_field_text(const struct qb_node *value, struct qb_diags *diags);

/* Complains that the text is not what the key takes. */
int qb_field_bad(const struct qb_node *value, const struct qb_why *why, struct qb_diags *diags);

/* Whether the node is of the kind; complains if not. */
bool qb_field_is(const struct qb_node *value, enum qb_node_kind kind, const char *wanted,
                 struct qb_diags *diags);

#endif
