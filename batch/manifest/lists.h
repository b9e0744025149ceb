/* Reads the values of amend keys that are lists: of texts, and of small mappings. */
#ifndef QB_MANIFEST_LISTS_H
#define QB_MANIFEST_LISTS_H

#include "manifest/entries.h"

/* A text, or a list of texts.  -1: a mistake was reported, and the request is as it was. */
int qb_read_list(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *value,
                 struct qb_request *rq);

/* A program and its arguments, for a member of r->settings.  -1: a mistake was reported, and the
 * settings are as they were. */
int qb_read_command(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *value);

/* A directory or block device, or a list of them, for a member of r->settings: absolute paths, of
 * which each exists.  -1: as above. */
int qb_read_places(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *value);

/* A list of mappings of the key's parts.  -1: as above. */
int qb_read_mappings(struct qb_reader *r, const struct qb_key_row *key, const struct qb_node *value,
                     struct qb_request *rq);

#endif
