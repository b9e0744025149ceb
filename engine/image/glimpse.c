#include "image/glimpse.h"

#include <stddef.h>
#include <string.h>

/* Up to the length of the name; the same bytes in all versions. */
enum { READ = offsetof(struct qb_disk_header, cluster_bits) };

int qb_glimpse_backing(struct qb_io *io, struct qb_file *file, char name[QB_MAX_BACKING_NAME + 1],
                       struct qb_err *err)
{
    struct qb_disk_header d = {0};
    uint64_t offset, len;
    uint32_t version;

    memset(name, 0, QB_MAX_BACKING_NAME + 1);
    if (qb_io_read(io, file, 0, &d, QB_MIN(file->size, READ), "the header", err) < 0)
        return -1;
    version = be32_get(d.version);
    offset = be64_get(d.backing_file_offset);
    len = be32_get(d.backing_file_size);
    if (be32_get(d.magic) != QB_MAGIC || version == 0 || version > 3 || offset == 0 ||
        offset >= file->size || len > QB_MAX_BACKING_NAME)
        return 0;
    return qb_io_read(io, file, offset, name, QB_MIN(len, file->size - offset),
                      "the name of the backing file", err);
}
