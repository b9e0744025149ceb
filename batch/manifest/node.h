/* Reports mistakes that all sections of a manifest have in common: unknown keys, and values of the
 * wrong kind. */
#ifndef QB_MANIFEST_NODE_H
#define QB_MANIFEST_NODE_H

#include "job/keys.h"
#include "manifest/yaml.h"

enum { QB_FIELDS_MAX = QB_KEYS_MAX }; /* names of one section */

/* The names of structure.def, NULL-terminated: of the top level, of an entry's rules, and of an
 * entry's selection of files. */
extern const char *const qb_top_names[];
extern const char *const qb_rule_names[];
extern const char *const qb_entry_names[];

bool qb_names_have(const char *const *names, const char *name);

/* Reports a key that the section does not have, with the most helpful message.  `own` is the
 * NULL-terminated list of the section's names.  Returns -1. */
int qb_field_unknown(const struct qb_node *value, const char *const *own, struct qb_diags *diags);

/* Like qb_field_unknown, for a mapping whose names are used nowhere else. */
int qb_field_not_of(const struct qb_node *value, const char *const *own, struct qb_diags *diags);

/* The text of a non-empty scalar; else reports a mistake and returns NULL. */
const char *qb_field_text(const struct qb_node *value, struct qb_diags *diags);

/* Reports that the key does not accept the text. */
int qb_field_bad(const struct qb_node *value, const struct qb_why *why, struct qb_diags *diags);

/* Whether the node is of the kind; reports a mistake if not. */
bool qb_field_is(const struct qb_node *value, enum qb_node_kind kind, const char *wanted,
                 struct qb_diags *diags);

#endif
