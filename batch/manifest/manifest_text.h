/* Reads the text of a manifest from a file or standard input, and checks its characters. */
#ifndef QB_MANIFEST_MANIFEST_TEXT_H
#define QB_MANIFEST_MANIFEST_TEXT_H

#include "util/diag.h"

/* Reads all of `path` ("-": standard input) as the text that *diags is about, up to
 * QB_YAML_MAX_BYTES. -1 with a mistake in *diags, which is initialised either way. */
int qb_source_load(const char *path, struct qb_diags *diags);

/* The fingerprint of the text, by which a run that is resumed knows its manifest. */
enum { QB_SOURCE_PRINT = 24 };
void qb_source_print(const struct qb_diags *diags, char out[QB_SOURCE_PRINT]);

#define QB_BYTE_ORDER_MARK "\xef\xbb\xbf" /* may begin the text, and is not part of it */

/* The text must be UTF-8 without control characters, and its lines must end in LF or CR LF.  -1
 * with a mistake for each place (for the first ones) where that is not so. */
int qb_source_check(struct qb_diags *diags);

#endif
