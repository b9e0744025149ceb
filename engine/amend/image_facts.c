#include "amend/image_facts.h"

#include "opener/in_use.h"
#include "chain/backing_name.h"

static int read_bitmaps(struct qb_io *io, uint64_t memory_limit, struct qb_image_facts *f,
                        struct qb_err *err)
{
    struct qb_disk_bitmaps_ext ext;

    return qb_image_has_bitmaps(&f->img, &ext)
               ? qb_bitmaps_read(io, &f->img, memory_limit, &f->bitmaps, err)
               : 0;
}

int qb_image_facts_read(struct qb_io *io, const char *path, struct qb_file *opened,
                        bool without_locks, uint64_t memory_limit, struct qb_image_facts *out,
                        struct qb_err *err)
{
    struct qb_image_facts *f = out;

    *f = (struct qb_image_facts){.file.fd = -1};
    if (qb_image_file_begin(io, path, opened, without_locks, &f->file, err) < 0 ||
        qb_image_open(io, &f->file, &f->img, err) < 0 ||
        qb_image_read_snapshots_in(io, &f->img, memory_limit, err) < 0 ||
        read_bitmaps(io, memory_limit, f, err) < 0)
        return -1;
    qb_image_info(&f->img, &f->info);
    f->virtual_size = f->info.virtual_size / QB_SECTOR * QB_SECTOR;
    f->actual_size = qb_file_allocated(&f->file);
    if (!f->img.backing_name[0])
        return 0;
    f->full_backing = qb_backing_full(path, f->img.backing_name);
    return f->full_backing ? 0 : qb_fail_memory(err);
}

void qb_image_facts_close(struct qb_image_facts *f)
{
    free(f->full_backing);
    qb_bitmaps_free(&f->bitmaps);
    qb_image_close(&f->img);
    qb_file_close(&f->file);
}
