/* Files of the source tree that tests compare with. */
#ifndef SOURCE_H
#define SOURCE_H

/* The text of a file, by its name below the root of the tree; NULL: it cannot be read.  The
 * caller's to free. */
char *source_text(const char *name);

#endif
