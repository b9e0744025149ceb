#include "backing/deadly.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/vec.h"

enum {
    READ_MAX = 1024,                /* headers that are read at a time */
    ALONE_DEATHS = 2,               /* of the same header, before it is deadly */
    FILE_DEATHS = ALONE_DEATHS + 2, /* at most: among others, alone, and of the glimpse */
    MORE_DEATHS = 64,               /* besides those of all files */
};

/* A header that is being read. */
struct qb_deadly_mark {
    atomic_uint used;
    unsigned char alone; /* in memory that whoever is not believed writes to */
    dev_t dev;
    ino_t ino;
};

struct known {
    dev_t dev;
    ino_t ino;
    unsigned alone; /* deaths of processes that read no other header */
    bool deadly, dark;
};

struct qb_deadly {
    struct qb_deadly_mark *reading; /* READ_MAX, shared */
    QB_VEC(struct known) known;
    size_t suspects; /* of these; the others are dark */
    size_t deaths;
    char how[QB_MORTAL_HOW];
};

struct qb_deadly *qb_deadly_new(void)
{
    struct qb_deadly *d = calloc(1, sizeof(*d));

    if (d)
        d->reading = qb_mortal_share(READ_MAX * sizeof(*d->reading));
    if (d && d->reading)
        return d;
    free(d);
    return NULL;
}

void qb_deadly_free(struct qb_deadly *d)
{
    if (!d)
        return;
    qb_mortal_unshare(d->reading, READ_MAX * sizeof(*d->reading));
    qb_vec_free(&d->known);
    free(d);
}

static struct known *find(const struct qb_deadly *d, dev_t dev, ino_t ino)
{
    qb_vec_each (k, &d->known)
        if (k->ino == ino && k->dev == dev)
            return k;
    return NULL;
}

/* ---- in a process ---------------------------------------------------------------------------- */

bool qb_deadly_has_suspects(const struct qb_deadly *d)
{
    return d && d->suspects > 0;
}

bool qb_deadly_suspects(const struct qb_deadly *d, dev_t dev, ino_t ino)
{
    const struct known *k = d ? find(d, dev, ino) : NULL;

    return k && !k->dark;
}

int qb_deadly_check(const struct qb_deadly *d, const struct qb_file *file, struct qb_err *err)
{
    const struct known *k = d && d->known.n > 0 ? find(d, file->dev, file->ino) : NULL;

    if (!k || !k->deadly)
        return 0;
    return qb_fail(err, QB_E_CRASHED, QB_NOWHERE,
                   "the process that read its header %s, and so did one before it; the image is as "
                   "it was",
                   d->how);
}

bool qb_deadly_is_dark(const struct qb_deadly *d, const struct qb_file *file)
{
    const struct known *k = d ? find(d, file->dev, file->ino) : NULL;

    return k && k->dark;
}

struct qb_deadly_mark *qb_deadly_begin(struct qb_deadly *d, bool alone, const struct qb_file *file)
{
    for (size_t i = 0; d && i < READ_MAX; i++) {
        struct qb_deadly_mark *r = &d->reading[i];
        unsigned none = 0;

        if (!atomic_compare_exchange_strong(&r->used, &none, 1))
            continue;
        r->alone = alone;
        r->dev = file->dev;
        r->ino = file->ino;
        atomic_store(&r->used, 2);
        return r;
    }
    return NULL;
}

void qb_deadly_end(struct qb_deadly_mark *mark)
{
    if (mark)
        atomic_store(&mark->used, 0);
}

int qb_deadly_open(struct qb_deadly *d, struct qb_io *io, struct qb_file *file,
                   struct qb_image *img, struct qb_err *err)
{
    struct qb_deadly_mark *mark;
    int r;

    if (qb_deadly_check(d, file, err) < 0)
        return -1;
    mark = qb_deadly_begin(d, true, file);
    r = qb_image_open(io, file, img, err);
    qb_deadly_end(mark);
    return r;
}

/* ---- after a death --------------------------------------------------------------------------- */

/* The first time it need not have been known that it was alone. */
static void accuse(struct qb_deadly *d, const struct qb_deadly_mark *r, bool only_one)
{
    struct known *k = find(d, r->dev, r->ino);

    if (!k && qb_vec_push(&d->known, (struct known){.dev = r->dev, .ino = r->ino})) {
        k = &d->known.items[d->known.n - 1];
        d->suspects++;
    }
    if (!k || k->dark || !only_one || (k->alone > 0 && !r->alone))
        return;
    if (k->deadly) { /* of what a glimpse read */
        k->dark = true;
        d->suspects--;
    } else if (++k->alone == ALONE_DEATHS) {
        k->deadly = true;
    }
}

size_t qb_deadly_bury(struct qb_deadly *d, size_t most, const char *how)
{
    struct qb_deadly_mark left[READ_MAX];
    size_t n = 0;

    for (size_t i = 0; i < READ_MAX; i++) {
        struct qb_deadly_mark r = d->reading[i]; /* in memory that the process could write to */

        if (r.used == 2)
            left[n++] = r;
        atomic_store(&d->reading[i].used, 0);
    }
    for (size_t i = 0; i < n; i++)
        accuse(d, &left[i], n == 1);
    snprintf(d->how, sizeof(d->how), "%s", how);
    if (n > 0)
        d->deaths++;
    return d->deaths <= FILE_DEATHS * most + MORE_DEATHS ? n : 0;
}
