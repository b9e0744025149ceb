/* Parses YAML text into a tree of nodes with their places.  yaml.c is the only file that uses
 * libyaml.
 *
 * A manifest needs only scalars, lists and mappings: anchors, aliases, tags and a second document
 * are mistakes, and so are duplicate keys, text that is not UTF-8, and a tree deeper or larger than
 * the limits here.  Scalars stay text: the reader of a key decides what `0.10` or `on` means. */
#ifndef QB_MANIFEST_YAML_H
#define QB_MANIFEST_YAML_H

#include <string.h>

#include "util/diag.h"

enum {
    QB_YAML_MAX_DEPTH = 16,
    QB_YAML_MAX_KEYS = 128, /* of one mapping */
    QB_YAML_MAX_NODES = 4000000,
    QB_YAML_MAX_BYTES = 64 << 20,
};

enum qb_node_kind { QB_NODE_SCALAR, QB_NODE_SEQUENCE, QB_NODE_MAPPING };

struct qb_node {
    enum qb_node_kind kind;
    bool plain; /* a scalar without quotes */
    struct qb_place at;
    const char *text;          /* of a scalar; has no NUL inside */
    const struct qb_node *key; /* a scalar, when this is a value of a mapping */
    struct qb_node *first;     /* item or value; NULL when empty */
    struct qb_node *next;      /* after this one in the parent */
};

struct qb_yaml {
    const struct qb_node *root;
    struct qb_yaml_block *blocks;
};

/* Parses the text of *diags.  0 when the tree is complete: *diags may have mistakes even so (a
 * duplicate key, a tag), and the tree can be checked for more.  -1 when it is not.  Free the tree
 * in either case. */
int qb_yaml_parse(struct qb_yaml *yaml, struct qb_diags *diags);
void qb_yaml_free(struct qb_yaml *yaml);

/* "a text", "a list", "a mapping". */
const char *qb_node_kind_name(const struct qb_node *node);

/* Whether a scalar is YAML's null, written out: null or ~, without quotes. */
static inline bool qb_node_is_null(const struct qb_node *node)
{
    return node->plain && (strcmp(node->text, "null") == 0 || strcmp(node->text, "~") == 0);
}

/* Whether the scalar is empty and not quoted. */
static inline bool qb_node_is_blank(const struct qb_node *node)
{
    return node->plain && !node->text[0];
}

const char *qb_yaml_version(void); /* of libyaml */

#endif
