#include "io/extents.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

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
            .unwritten = e->fe_flags & FIEMAP_EXTENT_UNWRITTEN,
            .last = e->fe_flags & FIEMAP_EXTENT_LAST,
        };
    }
    return n;
}

static int data_each(struct qb_io *io, struct qb_file *file, uint64_t at, qb_extent_fn *fn,
                     void *arg, struct qb_err *err)
{
    struct qb_extent e = {.end = at};

    while ((e.first = qb_file_next_data(file, e.end)) < file->size) {
        e.end = qb_min(qb_file_data_end(file, e.first), file->size);
        if (qb_io_go_on(io, err) < 0 || fn(arg, &e, err) < 0)
            return -1;
    }
    return 0;
}

/* Unlike fdatasync, this leaves an error of an earlier write to be reported by the barrier. */
static void write_back(int fd)
{
    sync_file_range(
        fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

static bool has_last(const struct qb_extent *extents, int n)
{
    for (int i = 0; i < n; i++)
        if (extents[i].last)
            return true;
    return false;
}

/* Calls fn for those that end past *at, and moves it to the end of the last one. */
static int pass_on(const struct qb_extent *extents, int n, uint64_t *at, qb_extent_fn *fn,
                   void *arg, struct qb_err *err)
{
    for (int i = 0; i < n; i++) {
        struct qb_extent e = extents[i];

        if (e.end <= *at)
            continue;
        e.first = QB_MAX(e.first, *at);
        *at = e.end;
        if (fn(arg, &e, err) < 0)
            return -1;
    }
    return 0;
}

int qb_extents_each(struct qb_io *io, struct qb_file *file, uint64_t at, qb_extent_fn *fn,
                    void *arg, struct qb_err *err)
{
    struct qb_extent extents[QB_EXTENTS];
    bool last = false;
    int n = -1;

    if (!file->mem && !file->is_block_device) {
        write_back(file->fd);
        n = qb_extents_from(file->fd, at, extents);
    }
    if (n < 0)
        return data_each(io, file, at, fn, arg, err);
    while (n > 0 && !last) {
        last = has_last(extents, n);
        if (pass_on(extents, n, &at, fn, arg, err) < 0 || qb_io_go_on(io, err) < 0)
            return -1;
        n = last ? 0 : qb_extents_from(file->fd, at, extents);
    }
    /* What was not listed is not known to be a hole. */
    return n < 0 ? data_each(io, file, at, fn, arg, err) : 0;
}

void qb_extents_list(struct qb_file *file, struct qb_extent_list *out)
{
    out->n = -1;
    if (!file->mem && !file->is_block_device) {
        write_back(file->fd);
        out->n = qb_extents_from(file->fd, 0, out->items);
    }
    out->whole = out->n >= 0 && (out->n < QB_EXTENTS || has_last(out->items, out->n));
}

int qb_extents_each_listed(const struct qb_extent_list *list, struct qb_io *io,
                           struct qb_file *file, uint64_t at, qb_extent_fn *fn, void *arg,
                           struct qb_err *err)
{
    if (!list->whole)
        return qb_extents_each(io, file, at, fn, arg, err);
    return pass_on(list->items, list->n, &at, fn, arg, err) < 0 ? -1 : qb_io_go_on(io, err);
}

bool qb_extents_are_exact(const struct qb_file *file)
{
    struct statfs fs;

    return !file->mem && !file->is_block_device && fstatfs(file->fd, &fs) == 0 &&
           (fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC);
}
