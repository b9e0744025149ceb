/* Shows what `qemu-img info` tells of an image: as its JSON object, as its block of lines, and as
 * one line of a table. */
#ifndef QB_TEXT_INFO_H
#define QB_TEXT_INFO_H

#include <stdio.h>

#include "amend/image_facts.h"
#include "text/profile_show.h"

enum { QB_BITMAP_FLAG_NAMES = 2 };
extern const char *const qb_bitmap_flag_names[QB_BITMAP_FLAG_NAMES]; /* of the bits, from 0 */

/* ---- info_json.c: a line an image ------------------------------------------------------------ */

/* `suited` is NULL unless a profile was asked for. */
int qb_line_info(FILE *f, const char *path, const struct qb_image_facts *facts,
                 const struct qb_suited *suited, bool without_locks);
int qb_line_info_failed(FILE *f, const char *path, const struct qb_failure *failure,
                        bool without_locks);

/* ---- info_text.c ----------------------------------------------------------------------------- */

/* The lines of `qemu-img info`. */
void qb_info_print(FILE *f, const char *path, const struct qb_image_facts *facts);

/* A row of the table, whose first column is `width` wide, and what stands above all. */
void qb_info_row(FILE *f, int width, const char *path, const struct qb_image_facts *facts);
void qb_info_head(FILE *f, int width);

#endif
