#include "io/reserve.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "io/backend.h"

#define EXTENTS 128u /* in one call */

/* A struct fiemap ends with its extents; this one has space for some. */
union map {
    struct fiemap head;
    uint8_t bytes[sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent)];
};

/* Moves *at past the adjacent extents from there on: 1 when more may follow, 0 at a hole or after
 * the last extent, -1 if the file system does not support FIEMAP. */
static int follow(int fd, union map *map, uint64_t *at)
{
    memset(&map->head, 0, sizeof(map->head));
    map->head.fm_start = *at;
    map->head.fm_length = FIEMAP_MAX_OFFSET - *at;
    map->head.fm_extent_count = EXTENTS;
    if (ioctl(fd, FS_IOC_FIEMAP, &map->head) < 0)
        return -1;
    for (uint32_t i = 0; i < map->head.fm_mapped_extents && i < EXTENTS; i++) {
        const struct fiemap_extent *e = &map->head.fm_extents[i];

        if (e->fe_logical > *at || e->fe_logical + e->fe_length <= *at)
            return 0;
        *at = e->fe_logical + e->fe_length;
        if (e->fe_flags & FIEMAP_EXTENT_LAST)
            return 0;
    }
    return map->head.fm_mapped_extents > 0;
}

int qb_file_is_reserved(struct qb_io *io, const struct qb_file *file, bool *reserved,
                        struct qb_err *err)
{
    union map map;
    uint64_t at = 0;
    int more = 1;

    *reserved = file->mem && file->mem_reserved;
    if (file->mem || file->is_block_device || file->size == 0 ||
        qb_file_allocated(file) < file->size)
        return 0;
    while (more > 0 && at < file->size) {
        if (io->stop && io->stop(io->stop_arg))
            return qb_fail_sys(err, ECANCELED, QB_NOWHERE, "cannot look at the file's extents");
        more = follow(file->fd, &map, &at);
    }
    *reserved = more < 0 || at >= file->size;
    return 0;
}
