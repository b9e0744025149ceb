/* Formats sizes with units, for people. */
#ifndef QB_BASE_UNITS_H
#define QB_BASE_UNITS_H

#include <stdint.h>

#define QB_TEXT_NUMBER                                                                             \
    40 /* room for any number in words, this one and those of the layers above                     \
        */

/* "10 GiB", "1.5 MiB", "512 B", in units of 1024: exact if possible, else three digits.  Returns
 * out. */
const char *qb_text_size(uint64_t bytes, char out[QB_TEXT_NUMBER]);

/* Always exact: "64 KiB", "1536 MiB", "65537 B", in the largest unit of which it is a multiple. */
const char *qb_text_size_exact(uint64_t bytes, char out[QB_TEXT_NUMBER]);

#endif
