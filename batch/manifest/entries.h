/* Reads `defaults` and `images` of a manifest: the requests, and the files that they apply to. */
#ifndef QB_MANIFEST_ENTRIES_H
#define QB_MANIFEST_ENTRIES_H

#include "manifest/rules_read.h"
#include "manifest/select.h"
#include "job/keys.h"
#include "manifest/yaml.h"

/* A manifest while it is read. */
struct qb_reader {
    struct qb_diags *diags;
    struct qb_batch *batch; /* owns the texts */
    struct qb_settings settings;
    struct qb_select select;
    bool defaults_broken;               /* an entry without a request may then be caused by that */
    bool asked_elsewhere;               /* the command line may contain the request */
    struct qb_name_list roots_typed;    /* on the command line */
    QB_VEC(struct qb_request) requests; /* one for each entry; qb_pick.entry counts these, */
    QB_VEC(struct qb_rules) rules;      /* and these */
};

/* Fills `requests` and `select`; the settings must have been read.  Either node may be NULL. */
void qb_entries_read(struct qb_reader *r, const struct qb_node *defaults,
                     const struct qb_node *images);

#endif
