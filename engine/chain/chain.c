#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "io/budget.h"
#include "opener/look.h"
#include "opener/named.h"
#include "chain/backing_name.h"
#include "chain/chain_parts.h"
#include "chain/data_name.h"
#include "chain/probe.h"

enum { CHAIN_BESIDES = 2 }; /* files of the image itself, its data file among them */

static void link_close(struct qb_link *l)
{
    if (l->is_qcow2)
        qb_image_close(&l->img);
    qb_file_close(&l->file);
    if (l->data_open)
        qb_file_close(&l->data);
    free(l);
}

void qb_chain_close(struct qb_chain *chain)
{
    for (size_t i = 0; i < chain->n; i++)
        link_close(chain->links[i]);
    for (size_t i = 0; i < QB_CHAIN_INFLATED; i++)
        free(chain->inflated[i].bytes);
    free(chain->links);
    *chain = (struct qb_chain){0};
}

const struct qb_file *qb_chain_file(const struct qb_chain *chain, size_t i)
{
    return &chain->links[i]->file;
}

bool qb_chain_is_qcow2(const struct qb_chain *chain, size_t i)
{
    return chain->links[i]->is_qcow2;
}

uint64_t qb_chain_size(const struct qb_chain *chain)
{
    return chain->links[0]->size;
}

const char *qb_chain_remote(const struct qb_chain *chain)
{
    const struct qb_link *last = chain->n ? chain->links[chain->n - 1] : NULL;

    return last && last->is_remote ? last->file.path : NULL;
}

int qb_link_refuse(const struct qb_link *l, const char *why, struct qb_err *err)
{
    return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                   "this needs to read guest data of the backing file %s, which is %s",
                   l->file.path, why);
}

int qb_chain_check_readable(struct qb_io *io, struct qb_chain *chain, struct qb_err *err)
{
    for (size_t i = 0; i < chain->n; i++) {
        struct qb_link *l = chain->links[i];

        if (l->is_remote)
            return qb_link_refuse(l, "not local", err);
        if (!l->is_qcow2)
            continue;
        if (l->img.header.crypt_method)
            return qb_link_refuse(l, "encrypted", err);
        if (l->img.geom.external_data && qb_link_open_data(io, chain, l, err) < 0)
            return -1;
    }
    return 0;
}

int qb_chain_resolve(const char *image_path, const char *name, char **out, struct qb_err *err)
{
    const char *as;

    return qb_backing_locate(image_path, name, "", out, &as, err);
}

bool qb_chain_names(const struct qb_opener *by, const char *image_path, const char *name,
                    const struct qb_file *self)
{
    QB_AUTO(qb_buf) char *path = NULL;
    struct stat st;

    return self->fd >= 0 && qb_chain_resolve(image_path, name, &path, NULL) == 0 &&
           qb_look(by, path, &st) == 0 && st.st_dev == self->dev && st.st_ino == self->ino;
}

/* The format of a file for which none is declared, as QEMU finds it.  What it would read as one of
 * another format shows a guest other bytes than the file's own, and has another size. */
static int probe_format(struct qb_io *io, struct qb_link *l, struct qb_err *err)
{
    uint8_t head[QB_SECTOR] = {0};
    const char *fmt;

    if (qb_io_read(io, &l->file, 0, head, QB_MIN(l->file.size, (uint64_t)QB_SECTOR),
                   "the backing file", err) < 0)
        return -1;
    fmt = qb_probe_magic(head);
    l->is_qcow2 = strcmp(fmt, "qcow2") == 0;
    if (l->is_qcow2 || strcmp(fmt, "raw") == 0)
        return 0;
    return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                   "no format is declared for the backing file %s, and it looks like format %s",
                   l->file.path, fmt);
}

static int link_format(struct qb_io *io, struct qb_link *l, const char *fmt, struct qb_err *err)
{
    if (!fmt[0])
        return probe_format(io, l, err);
    l->is_qcow2 = strcmp(fmt, "qcow2") == 0;
    if (l->is_qcow2 || strcmp(fmt, "raw") == 0)
        return 0;
    return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE, "the backing file %s has format %s",
                   l->file.path, fmt);
}

/* Only a file that does not exist, or is not of the declared format, is a missing backing file:
 * other failures of system calls (no descriptors, no permission, a bad disk) keep their own code.
 */
static int fail_missing(const char *path, const struct qb_err *why, struct qb_err *err)
{
    bool missing =
        (why->sys_errno == 0 && why->code != QB_E_INTERNAL) || why->code == QB_E_NOT_FOUND;

    if (why->code == QB_E_MEMORY)
        return qb_fail_memory(err);
    if (why->code == QB_E_CANCELLED) { /* interrupted: nothing is wrong with the file */
        if (err)
            *err = *why;
        return -1;
    }
    if (qb_named_refused(why->code))
        return qb_fail(err, why->code, QB_NOWHERE, "the backing file %.150s is not opened: %.230s",
                       path, why->text);
    qb_fail(err, missing ? QB_E_BACKING_MISSING : why->code, why->offset,
            "the backing file %s cannot be read: %s", path, why->text);
    if (err)
        err->sys_errno = why->sys_errno;
    return -1;
}

/* The file that names the next one: the chain's last one, or the image itself. */
static struct qb_naming namer_of(const struct qb_chain *chain, const struct qb_file *self)
{
    return qb_naming_of(chain->n ? &chain->links[chain->n - 1]->file : self);
}

static int link_open(struct qb_io *io, const struct qb_chain *chain, const struct qb_file *self,
                     const char *path, const char *fmt, struct qb_link *l, struct qb_err *err)
{
    struct qb_err why;

    if (qb_named_open(io, qb_naming_of(self), namer_of(chain, self), path, &l->file, &why) < 0)
        return fail_missing(path, &why, err);
    if ((!chain->without_locks && qb_file_lock(&l->file, false, err) < 0) ||
        link_format(io, l, fmt, err) < 0)
        return -1;
    if (!l->is_qcow2) {
        l->size = qb_round_up(l->file.size, QB_SECTOR);
        return 0;
    }
    l->is_qcow2 = false; /* nothing to close yet */
    if (qb_image_open(io, &l->file, &l->img, &why) < 0)
        return fail_missing(path, &why, err);
    l->is_qcow2 = true;
    l->size = l->img.header.size;
    qb_map_init(&l->map, &l->img);
    return 0;
}

static bool same_file(const struct qb_file *a, const struct qb_file *b)
{
    return a->fd >= 0 && b->fd >= 0 && a->dev == b->dev && a->ino == b->ino;
}

static int check_loop(const struct qb_chain *chain, const struct qb_file *self,
                      const struct qb_budget *budget, struct qb_err *err)
{
    const struct qb_link *fresh = chain->links[chain->n - 1];
    bool loop = same_file(&fresh->file, self);

    for (size_t i = 0; i + 1 < chain->n; i++)
        loop |= same_file(&fresh->file, &chain->links[i]->file);
    if (loop)
        return qb_fail(err, QB_E_BACKING_LOOP, QB_NOWHERE, "the backing chain comes back to %s",
                       fresh->file.path);
    if (budget && budget->descriptors && chain->n + CHAIN_BESIDES > budget->descriptors)
        return qb_fail(err, QB_E_OVER_BUDGET, QB_NOWHERE,
                       "the backing chain is deeper than %u, which limits.per_image.descriptors "
                       "allows",
                       QB_MAX(budget->descriptors, CHAIN_BESIDES) - CHAIN_BESIDES);
    if (chain->n > QB_CHAIN_MAX_DEPTH)
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE, "the backing chain is deeper than %u",
                       (unsigned)QB_CHAIN_MAX_DEPTH);
    return 0;
}

static struct qb_link *new_link(struct qb_chain *chain)
{
    struct qb_link *l = NULL;

    if (qb_vec_room(&chain->links, chain->n, &chain->cap, sizeof(struct qb_link *)))
        l = calloc(1, sizeof(*l));
    if (l)
        l->file.fd = -1;
    return l;
}

/* `path` and `fmt` may belong to a link of the chain: links never move. */
static int push_link(struct qb_io *io, struct qb_chain *chain, const struct qb_file *self,
                     const char *path, const char *fmt, struct qb_err *err)
{
    struct qb_link *l = new_link(chain);

    if (!l)
        return qb_fail_memory(err);
    if (link_open(io, chain, self, path, fmt, l, err) < 0) {
        link_close(l);
        return -1;
    }
    chain->links[chain->n++] = l;
    chain->allocated += l->file.mem ? l->file.size : l->file.allocated_at_open;
    return check_loop(chain, self, qb_io_budget(io), err);
}

/* A file that is not local, of which nothing is known but its name. */
static int push_remote(struct qb_chain *chain, const char *name, struct qb_err *err)
{
    struct qb_link *l = new_link(chain);

    if (!l)
        return qb_fail_memory(err);
    l->file.path = strdup(name);
    if (!l->file.path) {
        link_close(l);
        return qb_fail_memory(err);
    }
    l->is_remote = true;
    l->size = QB_CHAIN_REMOTE_SIZE;
    chain->links[chain->n++] = l;
    return 0;
}

/* The file that an image names, as the next of the chain. */
static int push_named(struct qb_io *io, struct qb_chain *chain, const struct qb_chain_top *from,
                      unsigned how, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *path = NULL;
    struct qb_err why;
    const char *as;

    if (qb_backing_locate(from->path, from->name, from->fmt, &path, &as, &why) == 0)
        return push_link(io, chain, from->self, path, as, err);
    if (why.code == QB_E_UNSUPPORTED && (how & QB_CHAIN_ASSUME))
        return push_remote(chain, from->name, err);
    if (err)
        *err = why;
    return -1;
}

int qb_chain_open(struct qb_io *io, const struct qb_chain_top *top, unsigned how,
                  struct qb_chain *out, struct qb_err *err)
{
    struct qb_chain_top from = *top;
    struct qb_chain chain = {
        .by = {top->self->uid, top->self->gid, NULL}, /* the path may go first */
        .without_locks = how & QB_CHAIN_WITHOUT_LOCKS,
    };

    while (from.name[0]) {
        const struct qb_link *l;

        if (push_named(io, &chain, &from, how, err) < 0) {
            qb_chain_close(&chain);
            return -1;
        }
        l = chain.links[chain.n - 1];
        from.path = l->file.path;
        from.name = l->is_qcow2 && (how & QB_CHAIN_WHOLE) ? l->img.backing_name : "";
        from.fmt = l->is_qcow2 ? l->img.backing_fmt : "";
    }
    *out = chain;
    return 0;
}

int qb_link_open_data(struct qb_io *io, struct qb_chain *chain, struct qb_link *l,
                      struct qb_err *err)
{
    QB_AUTO(qb_buf) char *path = NULL;
    struct qb_err why = {0};

    if (l->data_open)
        return 0;
    if (qb_data_locate(qb_io_opener(io), l->file.path, l->img.data_name, &path, err) < 0)
        return -1;
    if (qb_named_open(io, chain->by, qb_naming_of(&l->file), path, &l->data, &why) < 0)
        return qb_data_blame(path, &why, err);
    if (!chain->without_locks && qb_file_lock(&l->data, false, &why) < 0) {
        qb_file_close(&l->data);
        return qb_data_blame(path, &why, err);
    }
    l->data_open = true;
    chain->allocated += l->data.allocated_at_open;
    return 0;
}
