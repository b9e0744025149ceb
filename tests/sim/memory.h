/* Memory that runs out: the n-th request for it fails.  Counts what the program itself asks for, by
 * malloc, calloc, realloc, strdup, strndup and asprintf, which are linked to this file (--wrap). */
#ifndef QB_TESTS_MEMORY_H
#define QB_TESTS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* From now on request `nth` fails, and with `onwards` all behind it. */
void memory_runs_out(uint64_t nth, bool onwards);

/* From now on none does; how many were made. */
uint64_t memory_is_back(void);

/* Requests between memory_spare(true) and memory_spare(false) are not counted. */
void memory_spare(bool begins);

#endif
