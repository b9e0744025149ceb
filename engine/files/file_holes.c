/* Finds the holes of a file, and remembers some of them. */
#include <errno.h>
#include <sys/types.h>
#include <unistd.h>

#include "files/file.h"

static const struct qb_known *remember(struct qb_file *file, uint64_t first, uint64_t end,
                                       bool is_hole)
{
    struct qb_known *k = &file->known[file->next_known];

    *k = (struct qb_known){{first, end}, is_hole};
    file->next_known = (file->next_known + 1) % QB_KNOWN;
    file->n_known = QB_MIN(file->n_known + 1, QB_KNOWN);
    return k;
}

void qb_file_forget(struct qb_file *file, uint64_t first, uint64_t end)
{
    for (unsigned i = 0; i < file->n_known; i++)
        if (qb_ranges_touch(file->known[i].range.first, file->known[i].range.end, first, end))
            file->known[i].range = (struct qb_range){0};
}

/* Asks the kernel for the range that begins at or covers `offset` < size.  If data follows a hole,
 * its end is asked for at once: it will be needed next. */
static const struct qb_known *ask(struct qb_file *file, uint64_t offset)
{
    off_t data = lseek(file->fd, (off_t)offset, SEEK_DATA), hole;
    const struct qb_known *k = NULL;

    if (data < 0 && errno == ENXIO)
        return remember(file, offset, file->size, true);
    if (data > (off_t)offset)
        k = remember(file, offset, (uint64_t)data, true);
    hole = data < 0 ? -1 : lseek(file->fd, data, SEEK_HOLE);
    /* If the file system does not support this, all of the file is taken as data, and it is not
     * asked again. */
    if (hole <= data)
        return k ? k : remember(file, offset, UINT64_MAX, false);
    if (!k)
        return remember(file, offset, (uint64_t)hole, false);
    remember(file, (uint64_t)data, (uint64_t)hole, false);
    return k;
}

static const struct qb_known *known_at(struct qb_file *file, uint64_t offset)
{
    for (unsigned i = 0; i < file->n_known; i++)
        if (offset >= file->known[i].range.first && offset < file->known[i].range.end)
            return &file->known[i];
    return ask(file, offset);
}

bool qb_file_is_hole(struct qb_file *file, uint64_t offset, uint64_t len)
{
    const struct qb_known *k;

    if (file->mem || file->is_block_device || !qb_range_ok(offset, len, 1, file->size))
        return false;
    if (len == 0)
        return true;
    k = known_at(file, offset);
    return k->is_hole && offset + len <= k->range.end;
}

uint64_t qb_file_next_data(struct qb_file *file, uint64_t offset)
{
    while (offset < file->size && qb_file_is_hole(file, offset, 1))
        offset = known_at(file, offset)->range.end;
    return QB_MIN(offset, file->size);
}

uint64_t qb_file_seek_data(struct qb_file *file, uint64_t offset)
{
    off_t data;

    if (file->mem || file->is_block_device || offset >= file->size)
        return qb_file_next_data(file, offset);
    data = lseek(file->fd, (off_t)offset, SEEK_DATA);
    if (data < 0)
        return errno == ENXIO ? file->size : offset;
    return QB_MIN((uint64_t)data, file->size);
}

uint64_t qb_file_data_end(struct qb_file *file, uint64_t offset)
{
    if (file->mem || file->is_block_device || offset >= file->size)
        return UINT64_MAX;
    return known_at(file, offset)->range.end;
}

struct qb_range qb_file_data_part(struct qb_file *file, uint64_t offset, uint64_t len)
{
    struct qb_range part = {offset, offset + len};
    uint64_t end;

    if (file->mem || file->is_block_device || !qb_range_ok(offset, len, 1, file->size))
        return part;
    part.first = qb_min(qb_file_next_data(file, offset), part.end);
    if (part.first == part.end)
        return part;
    end = known_at(file, part.first)->range.end;
    if (end < part.end && qb_file_is_hole(file, end, part.end - end))
        part.end = end;
    return part;
}
