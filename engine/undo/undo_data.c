/* Proves for an undo that the old header hides nothing that was written to an external data file.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "plan/data_file.h"
#include "undo/undo_prove.h"
#include "undo/undo_state.h"
#include "base/own.h"
#include "opener/look.h"
#include "opener/named.h"
#include "chain/chain.h"
#include "chain/data_name.h"

static bool is_raw(const struct qb_image *img)
{
    return img->header.autoclear & QB_AUTOCLEAR_DATA_FILE_RAW;
}

static int open_data(struct qb_undo *u, struct qb_proving *p, const char *name, struct qb_file *out)
{
    const struct qb_claim how = {.without_locks = u->file.without_locks};
    QB_AUTO(qb_buf) char *path = NULL;
    struct qb_err why = {0};

    if (qb_data_locate(qb_io_opener(p->io), u->path, name, &path, p->err) < 0)
        return -1;
    if (qb_named_claim(p->io, &u->file, path, how, out, &why) < 0)
        return qb_data_blame(path, &why, p->err);
    return 0;
}

/* Whoever wrote to the file that the image names now did not write to the one that the old header
 * names, unless they are one: the latter has to hold all that the former does. */
static int look_at_names(struct qb_undo *u, struct qb_proving *p)
{
    uint64_t size = p->old.header.size,
             at; /* past it the one is zero, and the other is not shown */
    QB_AUTO(qb_buf) char *path = NULL;
    struct stat st;

    if (qb_data_locate(qb_io_opener(p->io), u->path, p->old.data_name, &path, p->err) < 0)
        return -1;
    if (qb_look(qb_io_opener(p->io), path, &st) == 0 && st.st_dev == u->data.dev &&
        st.st_ino == u->data.ino)
        return 0;
    if (open_data(u, p, p->old.data_name, &u->old_data) < 0 ||
        qb_data_compare(p->io, &u->data, &u->old_data, size, &at, p->err) < 0)
        return -1;
    if (at < size)
        return qb_fail(
            p->err, QB_E_CHANGED, QB_NOWHERE,
            "%.150s has other bytes at %" PRIu64 " than %.150s, which the old header "
            "names: an undo would lose what was written; copy the one to the other first",
            u->data.path, at, u->old_data.path);
    if (is_raw(&p->old) && u->old_data.size < p->old.header.size)
        return qb_fail(p->err, QB_E_CHANGED, QB_NOWHERE,
                       "%.200s, which the old header names and says to be raw, is shorter than the "
                       "disk: %" PRIu64 " bytes",
                       u->old_data.path, u->old_data.size);
    return qb_data_sync(p->io, &u->old_data, p->err);
}

/* Zeroing a cluster of a file that is not raw need not change the file: it must still read like the
 * disk. */
static int look_at_raw(struct qb_undo *u, struct qb_proving *p)
{
    struct qb_err why = {0};
    struct qb_file *file = u->old_data.fd >= 0 ? &u->old_data : &u->data;

    if (qb_data_is_raw(p->io, &p->old, file, p->now.header.size, &why) == 0)
        return 0;
    if (why.code != QB_E_REFUSED) {
        *p->err = why;
        return -1;
    }
    return qb_fail(p->err, QB_E_CHANGED, why.offset,
                   "the old header says that the external data file reads like the disk, which is "
                   "not proved any more: %.200s",
                   why.text);
}

/* The file has no fingerprint; but what an amend took into use it had made zero, and until somebody
 * writes there, it is. */
static int look_at_added(struct qb_undo *u, struct qb_proving *p, struct qb_range added)
{
    uint64_t at;

    if (qb_data_first_nonzero(p->io, &u->data, added, &at, p->err) < 0)
        return -1;
    return at == added.end ? 0 : qb_undo_refuse(p, at, "the disk was written past its old end");
}

/* Subclusters of the old disk's last cluster before byte `used` in which the backing file showed,
 * and the data file does: *filled, a bit each. */
static int find_filled(struct qb_proving *p, uint64_t start, uint64_t used, uint32_t *filled)
{
    uint64_t sub = p->old.geom.cluster_size / QB_SUBCLUSTERS;
    struct qb_l2_place old, now;

    *filled = 0;
    if (qb_image_find(p->io, &p->old, start, &old, p->err) < 0 ||
        qb_image_find(p->io, &p->now, start, &now, p->err) < 0)
        return -1;
    for (unsigned i = 0; i * sub < used; i++)
        if (qb_l2_subcluster(old.bitmap, i) == QB_SUB_UNALLOCATED &&
            qb_l2_subcluster(now.bitmap, i) == QB_SUB_ALLOCATED)
            *filled |= UINT32_C(1) << i;
    return 0;
}

/* Bytes of the old disk as its backing file shows them, zeros without one. */
static int read_backing(struct qb_undo *u, struct qb_proving *p, uint64_t start, uint64_t len,
                        uint8_t *buf)
{
    const struct qb_image *old = &p->old;
    unsigned how = QB_CHAIN_WHOLE | (u->file.without_locks ? QB_CHAIN_WITHOUT_LOCKS : 0);
    struct qb_chain chain = {0};
    int r;

    memset(buf, 0, len);
    if (!old->backing_name[0])
        return 0;
    if (qb_chain_open(
            p->io, &(struct qb_chain_top){u->path, &u->file, old->backing_name, old->backing_fmt},
            how, &chain, p->err) < 0)
        return -1;
    r = qb_chain_read(p->io, &chain, start, len, buf, p->err);
    qb_chain_close(&chain);
    return r;
}

/* Where the backing file showed in the cluster in which the old disk ends, growing has put what it
 * showed into the data file; and until somebody writes there, that is the same. */
static int look_at_filled(struct qb_undo *u, struct qb_proving *p)
{
    uint64_t cs = p->old.geom.cluster_size, sub = cs / QB_SUBCLUSTERS;
    uint64_t used = p->old.header.size % cs, start = p->old.header.size - used;
    uint64_t have = start < u->data.size ? QB_MIN(used, u->data.size - start) : 0;
    QB_AUTO(qb_buf) uint8_t *shown = NULL, *found = NULL;
    uint32_t filled;

    if (find_filled(p, start, used, &filled) < 0)
        return -1;
    if (!filled)
        return 0;
    shown = malloc(cs);
    found = calloc(1, cs);
    if (!shown || !found)
        return qb_fail_memory(p->err);
    if (read_backing(u, p, start, used, shown) < 0 ||
        (have && qb_io_read(p->io, &u->data, start, found, have, "guest data", p->err) < 0))
        return -1;
    for (unsigned i = 0; i * sub < used; i++)
        if (filled >> i & 1 &&
            memcmp(shown + i * sub, found + i * sub, QB_MIN(sub, used - i * sub)) != 0)
            return qb_undo_refuse(p, start + i * sub,
                                  "the data file was written where the backing file showed");
    return 0;
}

int qb_undo_look_at_data(struct qb_undo *u, struct qb_proving *p)
{
    struct qb_range added = {p->old.header.size, p->now.header.size};
    bool renamed = strcmp(p->old.data_name, p->now.data_name) != 0;
    bool grown = added.first < added.end, raw_again = is_raw(&p->old) && !is_raw(&p->now);

    if (!p->now.geom.external_data || (!renamed && !grown && !raw_again))
        return 0;
    if (open_data(u, p, p->now.data_name, &u->data) < 0 || (renamed && look_at_names(u, p) < 0) ||
        (grown && (look_at_added(u, p, added) < 0 || look_at_filled(u, p) < 0)))
        return -1;
    return raw_again ? look_at_raw(u, p) : 0;
}
