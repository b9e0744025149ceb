/* Proves what data_file and data_file_raw say of an external data file.  All of it is read, holes
 * apart, before anything is written. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "plan/plan.h"
#include "opener/in_use.h"
#include "opener/look.h"
#include "opener/named.h"
#include "image/map.h"
#include "chain/data_name.h"

#define PIECE_BYTES (UINT64_C(1) << 20)

static void close_file(struct qb_file *file)
{
    qb_file_close(file);
}

int qb_data_first_nonzero(struct qb_io *io, struct qb_file *file, struct qb_range r, uint64_t *at,
                          struct qb_err *err)
{
    uint64_t end = QB_MIN(r.end, file->size), n, first = r.first;
    QB_AUTO(qb_buf) uint8_t *buf = NULL;

    *at = r.end;
    for (; first < end; first += n) {
        first = qb_file_next_data(file, first);
        if (first >= end)
            return 0;
        if (!buf && !(buf = malloc(PIECE_BYTES)))
            return qb_fail_memory(err);
        n = QB_MIN(PIECE_BYTES, end - first);
        if (qb_io_read(io, file, first, buf, n, "the external data file", err) < 0)
            return -1;
        if (qb_all_zero(buf, n))
            continue;
        for (n = 0; !buf[n];)
            n++;
        *at = first + n;
        return 0;
    }
    return 0;
}

/* ---- the same content ------------------------------------------------------------------------ */

struct pair {
    struct qb_io *io;
    struct qb_file *a, *b;
    uint8_t *from_a, *from_b; /* PIECE_BYTES each */
};

/* Zeros where the file ends, or has a hole. */
static int read_piece(struct qb_io *io, struct qb_file *file, uint64_t offset, uint64_t n,
                      uint8_t *buf, struct qb_err *err)
{
    uint64_t have = offset < file->size ? QB_MIN(n, file->size - offset) : 0;

    memset(buf + have, 0, n - have);
    if (have && qb_file_is_hole(file, offset, have)) {
        memset(buf, 0, have);
        return 0;
    }
    return have ? qb_io_read(io, file, offset, buf, have, "an external data file", err) : 0;
}

/* *at: the first byte that differs, or the piece's end. */
static int compare_piece(const struct pair *p, uint64_t offset, uint64_t n, uint64_t *at,
                         struct qb_err *err)
{
    uint64_t i = 0;

    if (read_piece(p->io, p->a, offset, n, p->from_a, err) < 0 ||
        read_piece(p->io, p->b, offset, n, p->from_b, err) < 0)
        return -1;
    if (memcmp(p->from_a, p->from_b, n) != 0)
        while (p->from_a[i] == p->from_b[i])
            i++;
    else
        i = n;
    *at = offset + i;
    return 0;
}

/* What is a hole in both is not looked at. */
static int compare(const struct pair *p, uint64_t size, uint64_t *differs, struct qb_err *err)
{
    uint64_t n;

    for (uint64_t at = 0; at < size; at += n) {
        uint64_t a = at < p->a->size ? qb_file_next_data(p->a, at) : size;
        uint64_t b = at < p->b->size ? qb_file_next_data(p->b, at) : size;

        a = a >= p->a->size ? size : a;
        b = b >= p->b->size ? size : b;
        at = QB_MAX(at, QB_MIN(a, b));
        if (at >= size)
            break;
        n = QB_MIN(PIECE_BYTES, size - at);
        if (qb_io_go_on(p->io, err) < 0 || compare_piece(p, at, n, differs, err) < 0)
            return -1;
        if (*differs < at + n)
            return 0;
    }
    *differs = size;
    return 0;
}

int qb_data_compare(struct qb_io *io, struct qb_file *x, struct qb_file *y, uint64_t size,
                    uint64_t *differs, struct qb_err *err)
{
    QB_AUTO(qb_buf) uint8_t *a = malloc(PIECE_BYTES), *b = malloc(PIECE_BYTES);

    if (!a || !b)
        return qb_fail_memory(err);
    return compare(&(struct pair){io, x, y, a, b}, size, differs, err);
}

static int compare_with_old(struct qb_plan *plan, const char *path, struct qb_err *err)
{
    const struct qb_claim how = {.without_locks = plan->in.rq->without_locks};
    QB_AUTO(close_file) struct qb_file old = {.fd = -1};
    uint64_t size = plan->in.img->header.size, at;

    if (qb_named_claim(plan->in.io, plan->in.img->file, path, how, &old, err) < 0 ||
        qb_data_compare(plan->in.io, &old, plan->in.data, size, &at, err) < 0)
        return -1;
    if (at == size)
        return 0;
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "data_file: %.120s does not hold what %.120s does, first at byte %" PRIu64,
                   plan->in.data->path, path, at);
}

int qb_data_check_same(struct qb_plan *plan, struct qb_err *err)
{
    const struct qb_image *img = plan->in.img;
    const struct qb_file *now = plan->in.data;
    QB_AUTO(qb_buf) char *path = NULL;
    struct stat st;

    if (now->size < img->header.size)
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "data_file: %.200s has %" PRIu64 " bytes, and the disk %" PRIu64, now->path,
                       now->size, img->header.size);
    if (!img->data_name[0]) {
        plan->data.unchecked = true;
        return 0;
    }
    if (qb_data_locate(img->file->opener, img->file->path, img->data_name, &path, err) < 0)
        return -1;
    if (qb_look(img->file->opener, path, &st) < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return qb_fail_sys(err, errno, QB_NOWHERE,
                               "data_file: cannot look whether %.200s, the present one, is there",
                               path);
        plan->data.unchecked = true;
        return 0;
    }
    if (st.st_dev == now->dev && st.st_ino == now->ino)
        return 0;
    return compare_with_old(plan, path, err);
}

/* ---- raw ------------------------------------------------------------------------------------- */

static int refuse_raw(const char *what, uint64_t at, struct qb_err *err)
{
    return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                   "data_file_raw: the data file is not the disk: at byte %" PRIu64 " %s", at,
                   what);
}

struct raw_proof {
    struct qb_io *io;
    const struct qb_image *img;
    struct qb_file *data;
};

static int check_run(const struct raw_proof *p, uint64_t offset, const struct qb_map_run *run,
                     struct qb_err *err)
{
    const struct qb_range r = {offset, run->end};
    uint64_t at;

    if (run->shows == QB_SHOWS_ERROR)
        return refuse_raw(run->why, offset, err);
    if (run->shows == QB_SHOWS_DATA)
        return p->img->geom.l2_entry_size == 8
                   ? 0
                   : refuse_raw("it has extended L2 entries, which this does not look into", offset,
                                err);
    if (qb_data_first_nonzero(p->io, p->data, r, &at, err) < 0)
        return -1;
    return at == r.end ? 0 : refuse_raw("it holds bytes where the disk reads zero", at, err);
}

/* QEMU lengthens a file that is not raw to whole clusters; and an amend that was killed before its
 * flip may have lengthened it to the size that the disk is to have: `size_too`. */
static int check_length(const struct raw_proof *p, uint64_t size_too, struct qb_err *err)
{
    struct qb_file *file = p->data;
    uint64_t size = p->img->header.size, cs = p->img->geom.cluster_size, at;
    uint64_t most = qb_round_up(QB_MAX(size, size_too), cs);
    struct qb_range rest = {size, QB_MAX(size, file->size)};

    if (file->size < size || (file->size > most && !file->is_block_device))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE,
                       "data_file_raw: the data file has %" PRIu64 " bytes, and the disk %" PRIu64,
                       file->size, size);
    if (qb_data_first_nonzero(p->io, file, rest, &at, err) < 0)
        return -1;
    return at == rest.end ? 0 : refuse_raw("it holds bytes past the disk's end", at, err);
}

int qb_data_check_length(struct qb_plan *plan, struct qb_err *err)
{
    const struct raw_proof p = {plan->in.io, plan->in.img, plan->in.data};

    return check_length(&p, plan->target.header.size, err);
}

int qb_data_is_raw(struct qb_io *io, const struct qb_image *img, struct qb_file *data,
                   uint64_t size_too, struct qb_err *err)
{
    const struct raw_proof p = {io, img, data};
    uint64_t size = img->header.size;
    struct qb_map_run run = {.end = 0};
    struct qb_map map;

    if (img->backing_name[0])
        return qb_fail(
            err, QB_E_REFUSED, QB_NOWHERE,
            "data_file_raw: what the image reads from its backing file is not in the data "
            "file");
    if (check_length(&p, size_too, err) < 0)
        return -1;
    qb_map_init(&map, img);
    for (uint64_t at = 0; at < size; at = run.end)
        if (qb_io_go_on(io, err) < 0 || qb_map_run(io, &map, at, size, &run, err) < 0 ||
            check_run(&p, at, &run, err) < 0)
            return -1;
    return 0;
}

int qb_data_prove_raw(struct qb_plan *plan, struct qb_err *err)
{
    return qb_data_is_raw(plan->in.io, plan->in.img, plan->in.data, plan->target.header.size, err);
}
