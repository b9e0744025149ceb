#include "amend/verify_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32.h"
#include "files/direct.h"
#include "opener/opener.h"
#include "qcow2/l2.h"

#define WRONG(...) qb_fail(err, QB_E_VERIFY, __VA_ARGS__)

static int wrong_header(struct qb_verify_header *how, const char *why, struct qb_err *err)
{
    char text[300];

    snprintf(text, sizeof(text), "%.299s", why ? why : "");
    how->wrong = true;
    return WRONG(0, "the header on disk is not the one that was written%s%s", why ? ": " : "",
                 text);
}

/* Reads sector 0 from the disk, or through the page cache where the file does not support direct
 * reads. */
static int read_sector(struct qb_io *io, struct qb_file *file, struct qb_verify_header *how,
                       uint8_t *sector, struct qb_err *err)
{
    int r;

    if (how->direct)
        qb_opener_direct(io, file);
    r = how->direct ? qb_file_read_direct(file, sector, QB_SECTOR) : 1;
    how->from_disk = r <= 0;
    if (r < 0)
        return qb_fail_sys(err, -r, 0, "cannot read the header");
    if (r == 0)
        return 0;
    if (!how->direct && qb_file_is_cached(file) && file->head_len >= QB_SECTOR) {
        memcpy(sector, file->head, QB_SECTOR); /* and the image is decoded from the same read */
        return 0;
    }
    return qb_io_read(io, file, 0, sector, QB_SECTOR, "the header", err);
}

/* Compares what lies past sector 0: the old bytes, of which the open image keeps a checksum, and
 * after them the appended name. */
static int compare_rest(struct qb_io *io, const struct qb_plan *plan, struct qb_file *file,
                        struct qb_err *err)
{
    const struct qb_sector *s = &plan->sector;
    uint64_t used = plan->in.img->head_used;
    uint64_t end = QB_MAX(used, s->name_at ? s->name_at + s->name_len : 0);
    QB_AUTO(qb_buf) uint8_t *read = NULL;
    const uint8_t *found = file->head;

    if (end <= QB_SECTOR)
        return 0;
    if (!found || file->head_len < end) { /* it is not at hand from read_sector */
        found = read = malloc(end);
        if (!read)
            return qb_fail_memory(err);
        if (qb_io_read(io, file, 0, read, end, "the header's extensions", err) < 0)
            return -1;
    }
    if (qb_crc32(0, found + QB_SECTOR, used - QB_SECTOR) != plan->in.img->head_crc)
        return WRONG(QB_SECTOR,
                     "the header's extensions and backing name are not what they should be");
    if (s->name_at && memcmp(found + s->name_at, s->name, s->name_len) != 0)
        return WRONG(s->name_at, "the backing name is not what it should be");
    return 0;
}

int qb_verify_header(struct qb_io *io, const struct qb_plan *plan, struct qb_file *file,
                     struct qb_verify_header *how, struct qb_err *err)
{
    uint8_t sector[QB_SECTOR];

    how->wrong = false;
    if (read_sector(io, file, how, sector, err) < 0)
        return err->code == QB_E_MEMORY ? -1 : wrong_header(how, err->text, err);
    if (memcmp(sector, plan->sector.bytes, QB_SECTOR) != 0)
        return wrong_header(how, NULL, err);
    return compare_rest(io, plan, file, err);
}
