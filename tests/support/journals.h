/* Journals of runs in the scratch folder, as bytes. */
#ifndef QB_TESTS_JOURNALS_H
#define QB_TESTS_JOURNALS_H

#include "scratch.h"

/* The path of a run's journal; valid until the next call. */
const char *scratch_journal(const char *id);

/* The whole text of the journal, with a '\0' after it; the caller's. */
char *read_journal(const char *id, size_t *n);

/* Makes the journal this text. */
void make_journal(const char *id, const char *text, size_t n);

#endif
