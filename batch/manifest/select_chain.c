/* Selects the files of `chain:` of an entry: an image and its backing files. */
#include <string.h>

#include "base/own.h"
#include "manifest/select.h"
#include "io/named.h"
#include "qcow2/chain.h"

/* An image that is open with its backing chain. */
struct opened {
    struct qb_owners *owners;
    struct qb_io *io;
    struct qb_file file;
    struct qb_image img;
    bool has_image;
    struct qb_chain chain;
};

static void close_opened(struct opened *o)
{
    qb_chain_close(&o->chain);
    if (o->has_image)
        qb_image_close(&o->img);
    qb_file_close(&o->file);
    qb_io_close(o->io);
    qb_owners_free(o->owners);
}

static int open_chain(struct opened *o, const char *path, const struct qb_policy *policy,
                      struct qb_err *err)
{
    o->owners = qb_policy_owners(policy, false, err);
    if (!o->owners)
        return -1;
    if (qb_io_open(QB_IO_POSIX, &o->io, NULL, err) < 0)
        return -1;
    qb_io_set_owners(o->io, o->owners);
    if (qb_file_open(path, false, &o->file, err) < 0 ||
        qb_image_open(o->io, &o->file, &o->img, err) < 0)
        return -1;
    o->has_image = true;
    if (!o->img.backing_name[0])
        return 0;
    return qb_chain_open(o->io, path, &o->file, o->img.backing_name, o->img.backing_fmt,
                         QB_CHAIN_WHOLE, &o->chain, err);
}

/* Whether the entry has this file already, by any name; notes that it has. */
static bool is_picked(struct qb_select *select, const struct qb_file *file, size_t entry)
{
    const struct qb_file_id id = {file->dev, file->ino};

    if (select->chain_entry != entry)
        select->chained.n = 0;
    select->chain_entry = entry;
    for (size_t i = 0; i < select->chained.n; i++)
        if (select->chained.items[i].ino == id.ino && select->chained.items[i].dev == id.dev)
            return true;
    qb_vec_push(&select->chained, id); /* without memory it is reported as picked twice */
    return false;
}

static int pick_once(struct qb_select *select, const struct qb_file *file, struct qb_place at,
                     const struct qb_excludes *excludes, size_t entry)
{
    if (is_picked(select, file, entry))
        return 0;
    return qb_select_pick(select, strdup(file->path), at, excludes, entry);
}

int qb_select_add_chain(struct qb_select *select, const char *name, struct qb_place at,
                        const struct qb_excludes *excludes, size_t entry)
{
    QB_AUTO(close_opened) struct opened o = {.file.fd = -1};
    QB_AUTO(qb_buf) char *path = qb_select_path(select, name);
    struct qb_err err;
    int r = 0;

    if (!path)
        return qb_diag_memory(select->diags);
    select->is_relative = name[0] != '/';
    if (open_chain(&o, path, select->policy, &err) < 0)
        return qb_diag_add(select->diags, QB_M_FILE, at, NULL, "the chain of \"%s\": %.300s", name,
                           err.text);
    for (size_t i = o.chain.n; r == 0 && i-- > 0;)
        if (qb_chain_is_qcow2(&o.chain, i))
            r = pick_once(select, qb_chain_file(&o.chain, i), at, excludes, entry);
    return r == 0 ? pick_once(select, &o.file, at, excludes, entry) : r;
}
