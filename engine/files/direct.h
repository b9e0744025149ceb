/* Reads and writes a file past the page cache, through a second descriptor of it.
 *
 * It is opened through the file's own one, so no path is followed, and it takes and drops no lock:
 * locks belong to the open file description. */
#ifndef QB_FILES_DIRECT_H
#define QB_FILES_DIRECT_H

#include "files/file.h"

/* Opens the second descriptor now, for a process that cannot open any more later; it is the file's,
 * for what the file is open for.  Where that fails nothing is read or written past the cache. */
void qb_direct_keep(struct qb_file *file);

/* A descriptor for direct reads, or writes, at multiples of the disk's block; -1 where the file
 * does not support them.  To be left when it is not used any more. */
int qb_direct_take(const struct qb_file *file, bool writes);
void qb_direct_leave(const struct qb_file *file, int fd);

/* Reads [0, len), len at most a page, from the disk.  0; 1 if the file does not support direct
 * reads; a negative errno if reading failed. */
int qb_file_read_direct(const struct qb_file *file, void *buf, size_t len);

#endif
