/* Reads a manifest, and applies the command line to its batch: --set, --tags, --skip-tags,
 * settings. */
#ifndef QB_COMMON_OVERRIDES_H
#define QB_COMMON_OVERRIDES_H

#include "cli/cli.h"

/* Reads the manifest that the operand names, reports its mistakes on standard error, and applies
 * --set, --tags and --skip-tags.  -1: it has mistakes, or they have.  Free the batch either way. */
int qb_command_load(const struct qb_cli *cli, struct qb_batch *batch);

/* Applies --set, --tags and --skip-tags. -1 after a message on stderr: a mistake in --set, a tag
 * that no entry has, or no remaining image. */
int qb_narrow(const struct qb_cli *cli, struct qb_batch *batch);

/* Of these, the tags: -1 after such a message; and whether they leave a job in the batch. */
int qb_tags_check(const struct qb_cli *cli, const struct qb_batch *batch);
bool qb_tags_want(const struct qb_cli *cli, const struct qb_job *job);

/* Applies options that override policy and limits of the manifest. */
void qb_override(const struct qb_cli *cli, struct qb_batch *batch);

/* Of these options, those that are limits. */
void qb_override_limits(const struct qb_cli *cli, struct qb_limits *limits);

#endif
