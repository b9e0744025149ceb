#include "io/extents.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

/* A struct fiemap ends with its extents; this one has space for some. */
union map {
    struct fiemap head;
    uint8_t bytes[sizeof(struct fiemap) + QB_EXTENTS * sizeof(struct fiemap_extent)];
};

int qb_extents_from(int fd, uint64_t at, struct qb_extent out[QB_EXTENTS])
{
    union map map;
    int n = 0;

    memset(&map.head, 0, sizeof(map.head));
    map.head.fm_start = at;
    map.head.fm_length = FIEMAP_MAX_OFFSET - at;
    map.head.fm_extent_count = QB_EXTENTS;
    if (ioctl(fd, FS_IOC_FIEMAP, &map.head) < 0)
        return -1;
    for (; n < QB_EXTENTS && (uint32_t)n < map.head.fm_mapped_extents; n++) {
        const struct fiemap_extent *e = &map.head.fm_extents[n];

        out[n] = (struct qb_extent){
            .first = e->fe_logical,
            .end = e->fe_logical + e->fe_length,
            .shared = e->fe_flags & FIEMAP_EXTENT_SHARED,
            .last = e->fe_flags & FIEMAP_EXTENT_LAST,
        };
    }
    return n;
}
