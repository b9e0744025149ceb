#include "backing/tree_see.h"

#include <string.h>

#include "base/own.h"
#include "backing/order.h"
#include "image/glimpse.h"

void qb_member_fail(struct qb_member *m, const struct qb_err *err)
{
    m->kind = err->code == QB_E_NOT_FOUND ? QB_MEMBER_MISSING : QB_MEMBER_UNREADABLE;
    m->dark = m->kind == QB_MEMBER_UNREADABLE && err->code != QB_E_NOT_QCOW2;
    m->code = err->code;
    m->why = strdup(err->text);
}

/* Rather than assumed to name no file. */
static void lack_memory(struct qb_member *m)
{
    m->kind = QB_MEMBER_UNREADABLE;
    m->dark = true;
    m->code = QB_E_MEMORY;
}

static void see_header(struct qb_member *m, const struct qb_image *img)
{
    const char *declared = img->backing_fmt;
    QB_AUTO(qb_buf)
    char *path = qb_graph_resolve("", img->backing_name, img->backing_fmt, &declared);

    (void)path;
    m->kind = QB_MEMBER_QCOW2;
    m->version = img->header.version;
    m->virtual_size = img->header.size;
    strcpy(m->backing_fmt, declared);
    if ((img->backing_name[0] && !(m->backing_name = strdup(img->backing_name))) ||
        (img->geom.external_data && img->data_name && !(m->data_name = strdup(img->data_name))))
        lack_memory(m);
}

/* What the file may be based on although its header cannot be read. */
static void glimpse(struct qb_member *m, struct qb_io *io, struct qb_file *file)
{
    char name[QB_MAX_BACKING_NAME + 1];

    if (qb_glimpse_backing(io, file, name, NULL) < 0)
        return;
    m->dark = false;
    if (name[0] && !(m->backing_name = strdup(name)))
        lack_memory(m);
}

static void see_file(struct qb_member *m, struct qb_io *io, struct qb_file *file)
{
    struct qb_image img;
    struct qb_err err;

    if (qb_image_open(io, file, &img, &err) == 0) {
        see_header(m, &img);
        qb_image_close(&img);
    } else if (err.code == QB_E_NOT_QCOW2) {
        m->kind = QB_MEMBER_OTHER;
        m->virtual_size = file->size;
    } else {
        qb_member_fail(m, &err);
        glimpse(m, io, file);
    }
}

void qb_member_see(struct qb_member *m, struct qb_deadly *deadly, bool alone, struct qb_io *io,
                   struct qb_file *file)
{
    struct qb_deadly_mark *mark;
    struct qb_err err;
    bool deadly_one = qb_deadly_check(deadly, file, &err) < 0;

    if (deadly_one)
        qb_member_fail(m, &err);
    if (deadly_one && qb_deadly_is_dark(deadly, file))
        return;
    mark = qb_deadly_begin(deadly, alone, file);
    if (deadly_one)
        glimpse(m, io, file);
    else
        see_file(m, io, file);
    qb_deadly_end(mark);
}
