/* Proves for an undo that the old header hides nothing that was written to an external data file.
 */
#include <stdlib.h>
#include <string.h>

#include "plan/data_file.h"
#include "undo/undo_prove.h"
#include "undo/undo_state.h"
#include "base/own.h"
#include "io/named.h"
#include "qcow2/data_name.h"

static bool is_raw(const struct qb_image *img)
{
    return img->header.autoclear & QB_AUTOCLEAR_DATA_FILE_RAW;
}

static int open_data(struct qb_undo *u, struct qb_proving *p)
{
    const struct qb_claim how = {.without_locks = u->file.without_locks};
    QB_AUTO(qb_buf) char *path = NULL;

    if (qb_data_locate(u->path, p->now.data_name, &path, p->err) < 0)
        return -1;
    return qb_named_claim(p->io, &u->file, path, how, &u->data, p->err);
}

/* The file has no fingerprint; but what an amend took into use it had made zero, and until somebody
 * writes there, it is. */
int qb_undo_look_at_data(struct qb_undo *u, struct qb_proving *p)
{
    struct qb_range added = {p->old.header.size, p->now.header.size};
    uint64_t at;

    if (!p->now.geom.external_data)
        return 0;
    if (strcmp(p->old.data_name, p->now.data_name) != 0)
        return qb_undo_refuse(
            p, QB_NOWHERE,
            "the external data file may have been written, and the old header names "
            "another one");
    if (is_raw(&p->old) && !is_raw(&p->now))
        return qb_undo_refuse(p, QB_NOWHERE,
                              "what was zeroed need not be zero in the external data file");
    if (added.first >= added.end)
        return 0;
    if (open_data(u, p) < 0 || qb_data_first_nonzero(p->io, &u->data, added, &at, p->err) < 0)
        return -1;
    return at == added.end ? 0 : qb_undo_refuse(p, at, "the disk was written past its old end");
}
