/* For history*.c only. */
#ifndef QB_JOURNAL_HISTORY_PARTS_H
#define QB_JOURNAL_HISTORY_PARTS_H

#include "journal/history.h"

/* Replaces *out by a copy of the text, if the record has it. */
void qb_history_keep_text(const struct qb_parsed *record, const char *key, char **out);

/* history_run.c: the first record. */
int qb_history_on_run(struct qb_history *h, const struct qb_parsed *record, struct qb_err *err);

#endif
