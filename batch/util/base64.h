/* Encodes and decodes base64, for bytes in JSON. */
#ifndef QB_UTIL_BASE64_H
#define QB_UTIL_BASE64_H

#include <stddef.h>

/* Characters of n encoded bytes. */
static inline size_t qb_base64_len(size_t n)
{
    return (n + 2) / 3 * 4;
}

/* Writes qb_base64_len(n) characters, without a NUL. */
void qb_base64_write(const void *bytes, size_t n, char *out);

/* Decodes a whole text into at most `room` bytes.  0 with *n set, or -1 if the text is not base64
 * or does not fit. */
int qb_base64_read(const char *text, void *out, size_t room, size_t *n);

#endif
