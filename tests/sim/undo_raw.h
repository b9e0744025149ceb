/* The undo of what was a raw disk, with power cuts. */
#ifndef QB_TESTS_UNDO_RAW_H
#define QB_TESTS_UNDO_RAW_H

#include "fleet.h"

/* Converts the raw disk with keep_undo, where the request has that, and undoes it: the disk is
 * there again, to the byte, and at each power cut the disk, perhaps longer, or the image.  What is
 * wrong is noted with the image's judge.  Of other subjects nothing happens. */
void undo_raw_judge(struct fleet_image *image);

#endif
