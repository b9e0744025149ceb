#include "opener/opener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "io/backend.h"
#include "files/direct.h"
#include "opener/opener_wire.h"
#include "files/way.h"

static struct qb_wire_naming put_naming(struct qb_naming from)
{
    struct qb_wire_naming n = {.uid = from.uid, .gid = from.gid};

    if (from.path)
        strncat(n.path, from.path, sizeof(n.path) - 1);
    return n;
}

static int put_request(const struct qb_to_open *what, struct qb_parcel *p, struct qb_err *err)
{
    struct qb_wire_request *r = (struct qb_wire_request *)p->bytes;

    if (strlen(what->path) >= sizeof(r->path))
        return qb_fail_sys(err, ENAMETOOLONG, QB_NOWHERE, "cannot open the file");
    *r = (struct qb_wire_request){.what = what->what,
                                  .writable = what->how.writable,
                                  .without_locks = what->how.without_locks,
                                  .image = put_naming(what->image),
                                  .namer = put_naming(what->namer),
                                  .dev = what->file ? what->file->dev : 0,
                                  .ino = what->file ? what->file->ino : 0};
    strcpy(r->path, what->path);
    p->len = sizeof(*r);
    p->n_fds = 0;
    return 0;
}

static struct qb_file take_file(const struct qb_opener *opener, const struct qb_wire_file *f)
{
    return (struct qb_file){.fd = -1,
                            .direct = -1,
                            .opener = opener,
                            .size = f->size,
                            .allocated_at_open = f->allocated_at_open,
                            .mount_id = f->mount_id,
                            .dev = f->dev,
                            .ino = f->ino,
                            .uid = f->uid,
                            .gid = f->gid,
                            .other_names = f->other_names,
                            .is_block_device = f->is_block_device,
                            .writable = f->writable,
                            .may_have_links = f->may_have_links,
                            .without_locks = f->without_locks,
                            .writers_unseen = f->writers_unseen};
}

/* The next descriptors of the parcel, from *at on: 0; -1 where they are not there. */
static int take_fds(const struct qb_wire_file *f, struct qb_parcel *p, unsigned *at,
                    struct qb_file *out)
{
    if (*at + 1 + f->has_direct > p->n_fds)
        return -1;
    out->fd = p->fds[(*at)++];
    out->has_direct = f->has_direct;
    if (f->has_direct)
        out->direct = p->fds[(*at)++];
    return 0;
}

static int fail_answer(struct qb_err *err)
{
    return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE, "the answer about a file is not sound");
}

/* A FUSE file system without allow_other tells another user than the one who mounted it nothing of
 * an open file, though it lets him read and write it: no length, no free space. */
static int check_shown(const struct qb_opener *opener, const struct qb_file *file,
                       struct qb_err *err)
{
    struct stat st;

    if (!opener->blind || fstat(file->fd, &st) == 0 || errno != EACCES)
        return 0;
    return qb_fail(err, QB_E_PERMISSION, QB_NOWHERE,
                   "its file system (FUSE) shows the file to nobody but who mounted it, and with "
                   "policy.sandbox: strict another user reads it; mount it with allow_other, or "
                   "set policy.sandbox: auto");
}

static int take_answer(const struct qb_opener *opener, const struct qb_to_open *what,
                       struct qb_parcel *p, struct qb_file *out, struct qb_err *err)
{
    const struct qb_wire_answer *a = (const struct qb_wire_answer *)p->bytes;
    unsigned at = 0;

    if (p->len != sizeof(*a))
        return fail_answer(err);
    if (out)
        *out = (struct qb_file){.fd = -1, .size = a->file.size};
    if (a->failed && err)
        *err = a->err;
    if (a->failed || !out)
        return a->failed;
    *out = take_file(opener, &a->file);
    if (take_fds(&a->file, p, &at, out) < 0) {
        *out = (struct qb_file){.fd = -1};
        return fail_answer(err);
    }
    p->n_fds = 0;
    out->path = strdup(what->path);
    if (out->path && check_shown(opener, out, err) == 0)
        return 0;
    if (!out->path)
        qb_fail_memory(err);
    qb_file_close(out);
    *out = (struct qb_file){.fd = -1};
    return -1;
}

static int ask(const struct qb_opener *opener, const struct qb_to_open *what, struct qb_file *out,
               struct qb_err *err)
{
    QB_AUTO(qb_buf) struct qb_parcel *p = malloc(sizeof(*p));
    int r;

    if (!p)
        return qb_fail_memory(err);
    if (put_request(what, p, err) < 0)
        return -1;
    r = qb_helper_ask(opener->helper, opener->errand, NULL, p);
    if (r > 0)
        return qb_fail_sys(err, r, QB_NOWHERE, "cannot open the file");
    if (r < 0)
        return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE,
                       "the process that opens files for this one has ended");
    r = take_answer(opener, what, p, out, err);
    qb_parcel_drop(p);
    return r;
}

int qb_opener_open(struct qb_io *io, const struct qb_to_open *what, struct qb_file *out,
                   struct qb_err *err)
{
    int r = ask(io->opener, what, out, err);

    if (r == 0 && out && what->what != QB_OPENING_IMAGE && what->what != QB_OPENING_DIRECT)
        qb_io_opened(io, out);
    return r;
}

/* ---- several images -------------------------------------------------------------------------- */

static void take_claims(struct qb_io *io, enum qb_opening what, struct qb_parcel *p,
                        struct qb_to_claim *images, size_t n)
{
    const struct qb_wire_file *files = (const struct qb_wire_file *)p->bytes;
    unsigned at = 0;

    if (p->len != n * sizeof(files[0]))
        return;
    for (size_t i = 0; i < n; i++) {
        struct qb_file *out = &images[i].file;

        if (!files[i].opened)
            continue;
        *out = take_file(io->opener, &files[i]);
        out->path = strdup(images[i].path);
        if (out->path && take_fds(&files[i], p, &at, out) == 0) {
            if (check_shown(io->opener, out, NULL) < 0) { /* which is told when it is alone */
                qb_file_close(out);
                *out = (struct qb_file){.fd = -1};
            } else if (what == QB_OPENING_CLAIM) {
                qb_io_opened(io, out);
            }
            continue;
        }
        free(out->path);
        *out = (struct qb_file){.fd = -1};
        break;
    }
    for (unsigned i = at; i < p->n_fds; i++)
        qb_fd_close(&p->fds[i]);
}

void qb_opener_claim(struct qb_io *io, enum qb_opening what, struct qb_to_claim *images, size_t n)
{
    QB_AUTO(qb_buf) struct qb_parcel *p = malloc(sizeof(*p));
    struct qb_wire_claims *c = p ? (struct qb_wire_claims *)p->bytes : NULL;

    for (size_t i = 0; i < n; i++)
        images[i].file = (struct qb_file){.fd = -1};
    if (!p || n > QB_PARCEL_FILES)
        return;
    *c = (struct qb_wire_claims){.what = what, .n = (uint32_t)n};
    for (size_t i = 0; i < n; i++)
        c->numbers[i] = images[i].number;
    p->len = sizeof(*c);
    if (qb_helper_ask(io->opener->helper, io->opener->claims, NULL, p) == 0)
        take_claims(io, what, p, images, n);
}

/* ---- past the cache -------------------------------------------------------------------------- */

void qb_opener_direct(struct qb_io *io, struct qb_file *file)
{
    struct qb_to_open what = {.what = QB_OPENING_DIRECT, .path = file->path, .file = file};
    struct qb_file other;
    struct stat st;

    if (!io->opener || file->has_direct || file->mem || qb_opener_open(io, &what, &other, NULL) < 0)
        return;
    if (other.has_direct && fstat(other.direct, &st) == 0 && st.st_dev == file->dev &&
        st.st_ino == file->ino) {
        file->direct = other.direct;
        file->has_direct = true;
        other.has_direct = false;
    }
    qb_file_close(&other);
}

void qb_opener_serve(const struct qb_opener *opener, struct qb_io *io)
{
    qb_io_set_opener(io, opener, qb_opener_direct);
}
