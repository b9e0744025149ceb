/* A folder with what images may name and nobody may be shown by that: a file of another user, links
 * to it, a FIFO, a link that leads to itself. */
#ifndef QB_TESTS_SECRET_H
#define QB_TESTS_SECRET_H

#include <stddef.h>

/* The secret is nothing but this, with its NUL, again and again. */
#define SECRET_MARK "no guest may read this"

enum { SECRET_IMAGES = 202 }; /* f0, f1 ...: removed with the folder */

/* Made by the first call: "secret", "link", "fifo", "loop". */
void secret_make(void);

/* A path in the folder; the last four are valid. */
const char *secret_at(const char *name);

/* Makes a file there. */
void secret_put(const char *name, const void *bytes, size_t n);

#endif
