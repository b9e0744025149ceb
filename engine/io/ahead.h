/* Reads a file piece by piece: the more of it at once, the longer the pieces follow each other. */
#ifndef QB_IO_AHEAD_H
#define QB_IO_AHEAD_H

#include <stdlib.h>

#include "io/io.h"

enum { QB_AHEAD_BYTES = 4 << 20 }; /* the longest piece; half as much is read ahead */

/* Zeros at first. */
struct qb_ahead {
    struct qb_range held; /* bytes of the file */
    uint8_t *bytes;       /* owned */
};

static inline void qb_ahead_free(struct qb_ahead *a)
{
    free(a->bytes);
    *a = (struct qb_ahead){0};
}

/* Has the system start to read these bytes into its cache.  A hint: nothing depends on it. */
void qb_file_read_ahead(const struct qb_file *file, struct qb_range bytes);

/* Fills `to` with the bytes [offset, offset + len) of the file, with zeros past its end.  `what`
 * names them. */
int qb_ahead_read(struct qb_ahead *a, struct qb_io *io, struct qb_file *file, uint64_t offset,
                  uint64_t len, uint8_t *to, const char *what, struct qb_err *err);

#endif
