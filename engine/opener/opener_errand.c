/* The helper's side of opener.h: decides what is opened, and opens it. */
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "files/direct.h"
#include "files/links.h"
#include "opener/opener_wire.h"

static bool is_in(const struct qb_opening_rules *rules, uid_t uid, gid_t gid)
{
    for (size_t i = rules->known.n; i-- > 0;)
        if (rules->known.items[i].uid == uid && rules->known.items[i].gid == gid)
            return true;
    return false;
}

static bool is_known(struct qb_opening_rules *rules, uid_t uid, gid_t gid)
{
    bool known;

    pthread_mutex_lock(&rules->mutex);
    known = is_in(rules, uid, gid);
    pthread_mutex_unlock(&rules->mutex);
    return known;
}

bool qb_opening_know(struct qb_opening_rules *rules, uid_t uid, gid_t gid)
{
    bool known;

    pthread_mutex_lock(&rules->mutex);
    known = is_in(rules, uid, gid) || qb_vec_push(&rules->known, (struct qb_owner){uid, gid});
    pthread_mutex_unlock(&rules->mutex);
    return known;
}

int qb_opening_begin(struct qb_opening_rules *rules, unsigned channels, struct qb_owners *owners,
                     struct qb_err *err)
{
    for (unsigned i = 0; i < channels; i++) {
        if (qb_io_open(QB_IO_POSIX, &rules->ios[i], NULL, err) < 0)
            return -1;
        qb_io_set_owners(rules->ios[i], owners);
        qb_io_spare_signals(rules->ios[i]);
    }
    return 0;
}

void qb_opening_free(struct qb_opening_rules *rules)
{
    qb_vec_free(&rules->known);
    for (unsigned i = 0; i < QB_CHANNELS_MAX; i++)
        if (rules->ios[i])
            qb_io_close(qb_take(&rules->ios[i]));
}

static struct qb_naming naming_of(const struct qb_wire_naming *n)
{
    return (struct qb_naming){n->uid, n->gid, n->path[0] ? n->path : NULL};
}

/* Whether it is a request that this program could have made. */
static bool is_right(struct qb_opening_rules *rules, const struct qb_wire_request *r)
{
    if (r->what >= QB_OPENINGS || !memchr(r->path, 0, sizeof(r->path)) ||
        !memchr(r->image.path, 0, QB_NAMER_MAX) || !memchr(r->namer.path, 0, QB_NAMER_MAX))
        return false;
    if (r->what >= QB_OPENING_COULD_READ) /* asks about an image, or for one */
        return true;
    return is_known(rules, r->image.uid, r->image.gid) &&
           (r->what != QB_OPENING_NAMED || is_known(rules, r->namer.uid, r->namer.gid));
}

static int refuse(struct qb_err *err)
{
    return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE, "it is no image of this run");
}

/* For reads and writes past the cache: the file that the request names, by the image's path. */
static int open_direct(const struct qb_wire_request *r, struct qb_claim how, struct qb_file *out,
                       struct qb_err *err)
{
    if (qb_file_open(r->path, out, err) < 0)
        return -1;
    if (qb_links_check(out, how.on_link, err) == 0 && out->dev == r->dev && out->ino == r->ino) {
        out->writable = how.writable;
        qb_direct_keep(out);
        if (out->has_direct)
            return 0;
    }
    qb_file_close(out);
    return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE, "it cannot be read past the cache");
}

static int open_image(struct qb_opening_rules *rules, struct qb_io *io,
                      const struct qb_wire_request *r, struct qb_file *out, struct qb_err *err)
{
    struct qb_claim how = {.on_link = QB_ON_LINK_FAIL};
    bool is_image = rules->is_image(rules->arg, r->path, &how);

    if (r->what == QB_OPENING_IMAGE &&
        (is_image || (rules->may_read && rules->may_read(rules->arg, r->path))))
        return qb_file_open(r->path, out, err);
    if (!is_image || r->what == QB_OPENING_IMAGE)
        return refuse(err);
    if (r->what == QB_OPENING_DIRECT)
        return open_direct(r, how, out, err);
    if (qb_file_claim(io, r->path, how, out, err) < 0)
        return -1;
    qb_direct_keep(out);
    return 0;
}

static bool could_read(struct qb_opening_rules *rules, struct qb_io *io,
                       const struct qb_wire_request *r)
{
    const struct qb_file compared = {.dev = r->dev, .ino = r->ino};
    struct qb_claim how;

    return !rules->is_image(rules->arg, r->path, &how) ||
           qb_named_could_read(io, naming_of(&r->image), r->path, &compared);
}

static int open_data(struct qb_opening_rules *rules, struct qb_io *io,
                     const struct qb_wire_request *r, struct qb_file *out, struct qb_err *err)
{
    struct qb_naming by = naming_of(&r->image);
    const struct qb_file image = {.fd = -1,
                                  .uid = by.uid,
                                  .gid = by.gid,
                                  .dev = r->dev,
                                  .ino = r->ino,
                                  .path = (char *)(uintptr_t)by.path};
    struct qb_claim how = {.writable = r->writable && rules->most.writable,
                           .without_locks = r->without_locks && rules->most.without_locks};

    if (r->what == QB_OPENING_DATA)
        return qb_named_open_data(io, &image, r->path, out, err);
    if (qb_named_claim(io, &image, r->path, how, out, err) < 0)
        return -1;
    qb_direct_keep(out);
    return 0;
}

static int open_it(struct qb_opening_rules *rules, struct qb_io *io,
                   const struct qb_wire_request *r, struct qb_file *out, struct qb_err *err)
{
    const struct qb_file compared = {.dev = r->dev, .ino = r->ino};

    if (!is_right(rules, r))
        return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE, "the request to open a file is not sound");
    switch (r->what) {
    case QB_OPENING_NAMED:
        return qb_named_open(io, naming_of(&r->image), naming_of(&r->namer), r->path, out, err);
    case QB_OPENING_NAMED_IS:
        return qb_named_is(io, naming_of(&r->image), r->path, &compared) ? 0 : -1;
    case QB_OPENING_COULD_READ:
        return could_read(rules, io, r) ? 0 : -1;
    case QB_OPENING_DATA:
    case QB_OPENING_DATA_CLAIM:
        return open_data(rules, io, r, out, err);
    default:
        return open_image(rules, io, r, out, err);
    }
}

static struct qb_wire_file put_file(const struct qb_file *f)
{
    return (struct qb_wire_file){.size = f->size,
                                 .allocated_at_open = f->allocated_at_open,
                                 .mount_id = f->mount_id,
                                 .dev = f->dev,
                                 .ino = f->ino,
                                 .uid = f->uid,
                                 .gid = f->gid,
                                 .other_names = f->other_names,
                                 .opened = f->path != NULL,
                                 .has_direct = f->has_direct,
                                 .is_block_device = f->is_block_device,
                                 .writable = f->writable,
                                 .may_have_links = f->may_have_links,
                                 .without_locks = f->without_locks,
                                 .writers_unseen = f->writers_unseen};
}

/* Its descriptors go with the answer, which then has them. */
static void give(struct qb_file *file, struct qb_parcel *p)
{
    p->fds[p->n_fds++] = file->fd;
    if (file->has_direct)
        p->fds[p->n_fds++] = file->direct;
    free(qb_take(&file->path));
}

void qb_opening_errand(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    struct qb_opening_rules *rules = arg;
    const struct qb_wire_request *r = (const struct qb_wire_request *)request->bytes;
    struct qb_wire_answer a = {.failed = 0};
    struct qb_file file = {.fd = -1};

    if (request->len != sizeof(*r))
        return;
    a.failed = open_it(rules, rules->ios[request->channel], r, &file, &a.err);
    if (a.failed == 0 && file.path && !qb_opening_know(rules, file.uid, file.gid))
        a.failed = qb_fail_memory(&a.err);
    if (a.failed && file.path) {
        qb_file_close(&file);
        file.path = NULL;
    }
    a.file = put_file(&file);
    if (file.path)
        give(&file, answer);
    memcpy(answer->bytes, &a, sizeof(a));
    answer->len = sizeof(a);
}

/* ---- several images -------------------------------------------------------------------------- */

static struct qb_wire_file claim_one(struct qb_opening_rules *rules, struct qb_io *io, bool reads,
                                     uint64_t number, struct qb_parcel *answer)
{
    struct qb_claim how = {.on_link = QB_ON_LINK_FAIL};
    const char *path = rules->image(rules->arg, number, &how);
    struct qb_wire_file wire = {.opened = false};
    struct qb_file file;

    if (!path || (reads ? qb_file_open_to_claim(path, &file, NULL)
                        : qb_file_claim(io, path, how, &file, NULL)) < 0)
        return wire;
    if (!qb_opening_know(rules, file.uid, file.gid)) {
        qb_file_close(&file);
        return wire;
    }
    wire = put_file(&file);
    give(&file, answer);
    return wire;
}

void qb_opening_claims(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    struct qb_opening_rules *rules = arg;
    const struct qb_wire_claims *c = (const struct qb_wire_claims *)request->bytes;
    struct qb_wire_file *files = (struct qb_wire_file *)answer->bytes;

    if (request->len != sizeof(*c) || c->n > QB_PARCEL_FILES || !rules->image ||
        (c->what != QB_OPENING_CLAIM && c->what != QB_OPENING_IMAGE))
        return;
    for (uint32_t i = 0; i < c->n; i++)
        files[i] = claim_one(rules, rules->ios[request->channel], c->what == QB_OPENING_IMAGE,
                             c->numbers[i], answer);
    answer->len = c->n * sizeof(files[0]);
}
