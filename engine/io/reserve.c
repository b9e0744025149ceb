#include "io/reserve.h"

#include <errno.h>

#include "io/backend.h"
#include "io/extents.h"

/* Moves *at past the adjacent extents from there on: 1 when more may follow, 0 at a hole or after
 * the last extent, -1 if the file system does not support FIEMAP. */
static int follow(int fd, uint64_t *at)
{
    struct qb_extent extents[QB_EXTENTS];
    int n = qb_extents_from(fd, *at, extents);

    for (int i = 0; i < n; i++) {
        if (extents[i].first > *at || extents[i].end <= *at)
            return 0;
        *at = extents[i].end;
        if (extents[i].last)
            return 0;
    }
    return n < 0 ? -1 : n > 0;
}

int qb_file_is_reserved(struct qb_io *io, const struct qb_file *file, uint64_t size, bool *reserved,
                        struct qb_err *err)
{
    uint64_t at = 0;
    int more = 1;

    *reserved = file->mem && file->mem_reserved;
    if (file->mem || file->is_block_device || size == 0 || qb_file_allocated(file) < size)
        return 0;
    while (more > 0 && at < size) {
        if (io->stop && io->stop(io->stop_arg))
            return qb_fail_sys(err, ECANCELED, QB_NOWHERE, "cannot look at the file's extents");
        more = follow(file->fd, &at);
    }
    *reserved = more < 0 || at >= size;
    return 0;
}
