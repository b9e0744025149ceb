/* Selects the files of `chain:` of an entry: an image and its backing files. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "opener/named.h"
#include "manifest/chain_apart.h"
#include "manifest/select.h"

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

/* Files that are open, and the one that is picked next. */
struct picking {
    struct qb_owners *owners;
    struct qb_io *io;
    struct qb_file head, *files;
    size_t n; /* of files; in the chain's order */
    struct qb_apart_chain chain;
};

static void end_picking(struct picking *p)
{
    for (size_t i = 0; i < p->n; i++)
        qb_file_close(&p->files[i]);
    free(p->files);
    qb_file_close(&p->head);
    qb_apart_chain_free(&p->chain);
    qb_io_close(p->io);
    qb_owners_free(p->owners);
}

/* The files of the chain, each opened here as the one before may name it: the process that told
 * their names is believed no further than that. */
static int open_files(struct picking *p, struct qb_err *err)
{
    struct qb_naming image = qb_naming_of(&p->head), namer = image;

    p->files = calloc(p->chain.n + 1, sizeof(*p->files));
    if (!p->files)
        return qb_fail_memory(err);
    for (; p->n < p->chain.n; p->n++) {
        p->files[p->n].fd = -1;
        if (qb_named_open(p->io, image, namer, p->chain.links[p->n].path, &p->files[p->n], err) < 0)
            return -1;
        namer = qb_naming_of(&p->files[p->n]);
    }
    return 0;
}

static int open_chain(struct picking *p, const char *path, const struct qb_policy *policy,
                      struct qb_err *err)
{
    p->owners = qb_policy_owners(policy, false, err);
    if (!p->owners || qb_io_open(QB_IO_POSIX, &p->io, NULL, err) < 0)
        return -1;
    qb_io_set_owners(p->io, p->owners);
    if (qb_file_open(path, &p->head, err) < 0 ||
        qb_chain_apart(&p->head, policy, &p->chain, err) < 0)
        return -1;
    return open_files(p, err);
}

/* Whether the failure is of this process, not of the chain. */
static bool is_shortage(const struct qb_err *why)
{
    return why->code == QB_E_MEMORY || why->sys_errno == EMFILE || why->sys_errno == ENFILE ||
           why->code == QB_E_CANCELLED;
}

/* Its chain is whatever its owner made of it: it fails in the run, and keeps no other entry from
 * that. */
static int pick_faulty(struct qb_select *select, const struct picking *p, struct qb_place at,
                       const struct qb_excludes *excludes, size_t entry, const struct qb_err *why)
{
    size_t before = select->picks.n;
    struct qb_err *fault;

    if (pick_once(select, &p->head, at, excludes, entry) < 0)
        return -1;
    if (select->picks.n == before)
        return 0;
    fault = malloc(sizeof(*fault));
    if (!fault)
        return qb_diag_memory(select->diags);
    if (why->code == QB_E_CRASHED)
        qb_fail(fault, QB_E_CRASHED, QB_NOWHERE,
                "two processes that read its backing chain have ended; it is as it was, and so are "
                "its backing files");
    else
        qb_fail(fault, why->code, QB_NOWHERE,
                "its chain cannot be read, and nothing of it is amended: %.300s", why->text);
    select->picks.items[before].chain_fault = fault;
    return 0;
}

int qb_select_add_chain(struct qb_select *select, const char *name, struct qb_place at,
                        const struct qb_excludes *excludes, size_t entry)
{
    QB_AUTO(end_picking) struct picking p = {.head.fd = -1};
    QB_AUTO(qb_buf) char *path = qb_select_path(select, name);
    struct qb_err err;
    int r = 0;

    if (!path)
        return qb_diag_memory(select->diags);
    select->is_relative = name[0] != '/';
    r = open_chain(&p, path, select->policy, &err);
    if (r < 0 && p.head.path && !is_shortage(&err))
        return pick_faulty(select, &p, at, excludes, entry, &err);
    if (r < 0 && err.code == QB_E_NOT_QCOW2) /* no file; what it is, the run says */
        return qb_select_pick(select, qb_take(&path), at, excludes, entry);
    if (r < 0)
        return qb_diag_add(select->diags, QB_M_FILE, at, NULL, "the chain of \"%s\": %.300s", name,
                           err.text);
    for (size_t i = p.n; r == 0 && i-- > 0;)
        if (p.chain.links[i].is_qcow2)
            r = pick_once(select, &p.files[i], at, excludes, entry);
    return r == 0 ? pick_once(select, &p.head, at, excludes, entry) : r;
}
