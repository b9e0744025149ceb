/* Holes of disks in memory: of a disk that has any (qb_mem_make_holes) each block of zeros is one.
 * The program's questions about extents are linked to this file (--wrap). */
#include "base/units.h"
#include "files/file.h"
#include "mem/mem_disk.h"

#define BLOCK 4096u

bool __real_qb_file_is_hole(struct qb_file *file, uint64_t offset, uint64_t len);
bool __wrap_qb_file_is_hole(struct qb_file *file, uint64_t offset, uint64_t len);
uint64_t __real_qb_file_next_data(struct qb_file *file, uint64_t offset);
uint64_t __wrap_qb_file_next_data(struct qb_file *file, uint64_t offset);
uint64_t __real_qb_file_data_end(struct qb_file *file, uint64_t offset);
uint64_t __wrap_qb_file_data_end(struct qb_file *file, uint64_t offset);
uint64_t __real_qb_file_seek_data(struct qb_file *file, uint64_t offset);
uint64_t __wrap_qb_file_seek_data(struct qb_file *file, uint64_t offset);
struct qb_range __real_qb_file_data_part(struct qb_file *file, uint64_t offset, uint64_t len);
struct qb_range __wrap_qb_file_data_part(struct qb_file *file, uint64_t offset, uint64_t len);

static bool has_holes(const struct qb_file *file)
{
    return file->mem && file->mem->has_holes;
}

/* Whether the block with this byte is a hole. */
static bool is_block_hole(const struct qb_file *file, uint64_t at)
{
    const struct qb_mem_bytes *now = &file->mem->now;
    uint64_t end = at / BLOCK * BLOCK + BLOCK;

    for (uint64_t i = at / BLOCK * BLOCK; i < QB_MIN(end, now->size); i++)
        if (now->bytes[i])
            return false;
    return true;
}

/* The first byte from `at` on, and before `end`, that is (not) in a hole; else `end`. */
static uint64_t find(const struct qb_file *file, uint64_t at, uint64_t end, bool hole)
{
    while (at < end && is_block_hole(file, at) != hole)
        at = at / BLOCK * BLOCK + BLOCK;
    return QB_MIN(at, end);
}

bool __wrap_qb_file_is_hole(struct qb_file *file, uint64_t offset, uint64_t len)
{
    if (!has_holes(file))
        return __real_qb_file_is_hole(file, offset, len);
    return qb_range_ok(offset, len, 1, file->size) &&
           find(file, offset, offset + len, false) == offset + len;
}

uint64_t __wrap_qb_file_next_data(struct qb_file *file, uint64_t offset)
{
    if (!has_holes(file) || offset >= file->size)
        return __real_qb_file_next_data(file, offset);
    return find(file, offset, file->size, false);
}

uint64_t __wrap_qb_file_seek_data(struct qb_file *file, uint64_t offset)
{
    return has_holes(file) ? __wrap_qb_file_next_data(file, offset)
                           : __real_qb_file_seek_data(file, offset);
}

uint64_t __wrap_qb_file_data_end(struct qb_file *file, uint64_t offset)
{
    if (!has_holes(file) || offset >= file->size)
        return __real_qb_file_data_end(file, offset);
    return find(file, offset, file->size, true);
}

struct qb_range __wrap_qb_file_data_part(struct qb_file *file, uint64_t offset, uint64_t len)
{
    struct qb_range part = {offset, offset + len};
    uint64_t end;

    if (!has_holes(file) || !qb_range_ok(offset, len, 1, file->size))
        return __real_qb_file_data_part(file, offset, len);
    part.first = find(file, offset, part.end, false);
    end = find(file, part.first, part.end, true);
    if (find(file, end, part.end, false) == part.end)
        part.end = end;
    return part;
}
