/* Shows the map of an image's disk, run by run: as JSON, in the members of `qemu-img map`, or as a
 * table. */
#ifndef QB_TEXT_MAP_SHOW_H
#define QB_TEXT_MAP_SHOW_H

#include <stdio.h>

#include "qbatch.h"
#include "chain/measure.h"

/* A line for programs: its beginning, its runs, each with whether it is the first, and its end with
 * why it is not complete, or (code QB_E_NONE) what a copy would take.  -1 where memory is short. */
int qb_map_json_begin(FILE *f, const char *path, bool without_locks);
void qb_map_json_run(FILE *f, const struct qb_disk_run *run, bool is_first);
int qb_map_json_end(FILE *f, const struct qb_failure *failure, const struct qb_measured *measured);

/* The table of an image; `named`: below a line with its path. */
void qb_map_text_begin(FILE *f, const char *path, bool named);
void qb_map_text_run(FILE *f, const struct qb_disk_run *run);
void qb_map_text_end(FILE *f, const struct qb_measured *measured);

#endif
