#include "io/ahead.h"

#include <fcntl.h>
#include <string.h>

/* The kernel takes a hint for no more than its longest request. */
#define HINT_BYTES (UINT64_C(512) << 10)

void qb_file_read_ahead(const struct qb_file *file, struct qb_range bytes)
{
    if (file->mem)
        return;
    for (uint64_t at = bytes.first; at < bytes.end; at += HINT_BYTES)
        posix_fadvise(file->fd, (off_t)at, (off_t)QB_MIN(HINT_BYTES, bytes.end - at),
                      POSIX_FADV_WILLNEED);
}

int qb_ahead_read(struct qb_ahead *a, struct qb_io *io, struct qb_file *file, uint64_t offset,
                  uint64_t len, uint8_t *to, const char *what, struct qb_err *err)
{
    uint64_t size = file->size, want = len, have;

    if (offset >= size || qb_file_is_hole(file, offset, QB_MIN(len, size - offset))) {
        memset(to, 0, len);
        return 0;
    }
    if (!a->bytes && !(a->bytes = malloc(QB_AHEAD_BYTES)))
        return qb_fail_memory(err);
    if (offset < a->held.first || offset + len > a->held.end) {
        bool follows = offset >= a->held.first && offset <= a->held.end;

        if (follows)
            want = QB_MIN(2 * (a->held.end - a->held.first), QB_AHEAD_BYTES / 2);
        want = QB_MAX(want, len);
        have = QB_MIN(want, size - offset);
        a->held = (struct qb_range){0, 0};
        memset(a->bytes + have, 0, want - have);
        if (qb_io_read(io, file, offset, a->bytes, have, what, err) < 0)
            return -1;
        a->held = (struct qb_range){offset, offset + want};
    }
    memcpy(to, a->bytes + (offset - a->held.first), len);
    return 0;
}
