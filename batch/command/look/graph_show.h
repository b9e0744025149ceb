/* Prints a family as a tree, as DOT or as JSON.  Nothing is decided here. */
#ifndef QB_LOOK_GRAPH_SHOW_H
#define QB_LOOK_GRAPH_SHOW_H

#include <stdio.h>

#include "backing/findings.h"

struct qb_graph_shown {
    const struct qb_batch *batch;
    const struct qb_family *family;
    const struct qb_findings *findings;
    int exit_code;
};

void qb_graph_tree(FILE *f, const struct qb_graph_shown *shown); /* graph_tree.c */
void qb_graph_dot(FILE *f, const struct qb_graph_shown *shown);  /* graph_dot.c */
void qb_graph_json(FILE *f, const struct qb_graph_shown *shown); /* graph_json.c */

/* ---- what they have in common: graph_tree.c -------------------------------------------------- */

/* "manifest", "scan" or "chain": where a member comes from. */
const char *qb_graph_origin(const struct qb_member *member);

/* Why a member waits, as a clause after the path of the job that goes first. */
const char *qb_graph_reason(const struct qb_graph_shown *shown, const struct qb_member *member);

/* "qcow2", "raw", or "" when that is not known. */
const char *qb_graph_format(const struct qb_member *member);

#endif
