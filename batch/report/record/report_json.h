/* Writes reports for programs, a line for each image, for --report and --json. */
#ifndef QB_RECORD_REPORT_JSON_H
#define QB_RECORD_REPORT_JSON_H

#include <stdio.h>

#include "record/forecast.h"
#include "job/job.h"
#include "outcome/outcome.h"
#include "util/json.h"

/* Adds host, caller, command and labels to an object, null if they are not known. */
void qb_line_origin(struct qb_json *o, const struct qb_origin *origin);

/* Adds the statistics of reads and writes to an object, as "io". */
void qb_line_io(struct qb_json *o, const struct qb_io_stats *stats);

/* Add "error", "info" or whatever the key is, and "clusters", to an object; null if there are none.
 * `batch` and `job` may be NULL. */
void qb_json_error(struct qb_json *o, const struct qb_batch *batch, const struct qb_job *job,
                   const struct qb_failure *err);
void qb_json_info(struct qb_json *o, const char *key, const struct qb_info *info);
const char *qb_json_encryption(const struct qb_info *info); /* "aes", "luks", or "" */
void qb_json_clusters(struct qb_json *o, const struct qb_clusters *clusters);

/* The value of "of" in each line of a run, malloc'ed; NULL when there is none, or memory is short.
 */
char *qb_json_of_text(const struct qb_batch *batch);

/* Adds "of" to a line of the run; `text`: its value, if it was made already, else NULL. */
void qb_json_of(struct qb_json *o, const struct qb_batch *batch, const char *text);

/* The object of an image's line; `tagged` adds "type":"image" at the front.  `of`: see
 * qb_json_of. */
struct qb_json qb_json_image(const struct qb_batch *batch, const struct qb_job *job,
                             const struct qb_outcome *outcome, const char *of, bool tagged);

/* Each writes one line to f; 0, or -1 with errno set. */

/* `tagged` adds "type":"image" at the front, for a stream with other lines too. */
int qb_line_image(FILE *f, const struct qb_batch *batch, const struct qb_job *job,
                  const struct qb_outcome *outcome, bool tagged);

/* `foresight` is the forecast of a dry run; it may be NULL. */
int qb_line_summary(FILE *f, const struct qb_batch *batch, const struct qb_summary *sum,
                    const struct qb_foresight *foresight, int exit_code);

/* One summary of several runs, each of which is named in it. */
struct qb_telling;
int qb_line_total(FILE *f, const struct qb_telling *t, int exit_code);

/* "of" of an image's line: the run to which it belongs. */
struct qb_part;
struct qb_json qb_line_of(const struct qb_part *run);

/* "sandbox" of a summary; nothing for NULL. */
struct qb_sandboxed;
void qb_line_sandbox(struct qb_json *o, const struct qb_sandboxed *sandboxed);

/* The summary of a run that could not start. */
int qb_line_abort(FILE *f, const char *message, int exit_code);

#endif
