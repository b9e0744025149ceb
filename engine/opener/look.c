#include "opener/look.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/own.h"
#include "files/file.h"
#include "opener/look_wire.h"

bool qb_look_asks(const struct qb_opener *by)
{
    return by && by->blind;
}

/* ---- by the helper --------------------------------------------------------------------------- */

/* The answer is in the parcel: 0; or -1 with errno. */
static int ask(const struct qb_opener *by, enum qb_looking what, const char *path,
               struct qb_parcel *p)
{
    struct qb_wire_look *r = (struct qb_wire_look *)p->bytes;
    const struct qb_wire_looked *a = (const struct qb_wire_looked *)p->bytes;
    int failed;

    if (strlen(path) >= sizeof(r->path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    *r = (struct qb_wire_look){.what = what};
    strcpy(r->path, path);
    p->len = sizeof(*r);
    p->n_fds = 0;
    failed = qb_helper_ask(by->helper, by->look, NULL, p);
    if (failed || p->len != sizeof(*a) || !memchr(a->real, 0, sizeof(a->real)))
        errno = ECHILD;
    else
        errno = a->seen.errnum;
    return errno ? -1 : 0;
}

static struct stat take(const struct qb_wire_seen *seen)
{
    return (struct stat){.st_dev = seen->dev,
                         .st_ino = seen->ino,
                         .st_mode = seen->mode,
                         .st_nlink = seen->links,
                         .st_uid = seen->uid,
                         .st_gid = seen->gid,
                         .st_size = (off_t)seen->size,
                         .st_blocks = (blkcnt_t)seen->blocks,
                         .st_ctim = {seen->ctime, seen->ctime_ns},
                         .st_mtim = {seen->mtime, seen->mtime_ns}};
}

static int ask_for_status(const struct qb_opener *by, const char *path, struct stat *st,
                          bool *is_link)
{
    QB_AUTO(qb_buf) struct qb_parcel *p = malloc(sizeof(*p));
    const struct qb_wire_looked *a;

    if (!p || ask(by, QB_LOOKING_AT, path, p) < 0)
        return -1;
    a = (const struct qb_wire_looked *)p->bytes;
    *st = take(&a->seen);
    *is_link = a->seen.is_link != 0;
    return 0;
}

static char *ask_for_real(const struct qb_opener *by, enum qb_looking what, const char *path)
{
    QB_AUTO(qb_buf) struct qb_parcel *p = malloc(sizeof(*p));

    if (!p || ask(by, what, path, p) < 0)
        return NULL;
    return strdup(((const struct qb_wire_looked *)p->bytes)->real);
}

/* ---- either ---------------------------------------------------------------------------------- */

int qb_look(const struct qb_opener *by, const char *path, struct stat *st)
{
    bool is_link;

    return qb_look_asks(by) ? ask_for_status(by, path, st, &is_link) : stat(path, st);
}

bool qb_look_is_link(const struct qb_opener *by, const char *image)
{
    bool is_link = false;
    struct stat st;

    if (qb_look_asks(by))
        return ask_for_status(by, image, &st, &is_link) == 0 && is_link;
    return lstat(image, &st) == 0 && S_ISLNK(st.st_mode);
}

char *qb_look_real(const struct qb_opener *by, const char *image)
{
    return qb_look_asks(by) ? ask_for_real(by, QB_LOOKING_REAL, image) : realpath(image, NULL);
}

char *qb_look_real_folder(const struct qb_opener *by, const char *image)
{
    QB_AUTO(qb_buf) char *folder = NULL;

    if (qb_look_asks(by))
        return ask_for_real(by, QB_LOOKING_FOLDER, image);
    folder = qb_look_folder(image);
    return folder ? realpath(folder, NULL) : NULL;
}

char *qb_look_folder(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* ---- the file at a path -----------------------------------------------------------------------
 */

#define AHEAD_SECONDS 0.002 /* a look takes 10 us, and so does a flip */

/* What was looked at ahead holds once, and not for long. */
static int look_at_path(struct qb_file *file, struct stat *st)
{
    struct qb_seen_ahead ahead = file->ahead;

    file->ahead.at = 0;
    if (ahead.at == 0 || qb_now() - ahead.at > AHEAD_SECONDS)
        return qb_look(file->opener, file->path, st);
    *st = (struct stat){.st_dev = ahead.dev, .st_ino = ahead.ino, .st_size = (off_t)ahead.size};
    return ahead.errnum ? -1 : 0;
}

bool qb_file_still_there_as_long(struct qb_file *file, bool *same_size)
{
    struct stat st;

    *same_size = true;
    if (file->mem)
        return true;
    if (look_at_path(file, &st) < 0 || st.st_dev != file->dev || st.st_ino != file->ino)
        return false;
    *same_size = file->is_block_device || (uint64_t)st.st_size == file->size;
    return true;
}

bool qb_file_still_there(struct qb_file *file)
{
    bool same_size;

    return qb_file_still_there_as_long(file, &same_size);
}

/* ---- several images -------------------------------------------------------------------------- */

static void take_ahead(const struct qb_parcel *p, double at, struct qb_file *const *files, size_t n)
{
    const struct qb_wire_seen *seen = (const struct qb_wire_seen *)p->bytes;

    for (size_t i = 0; p->len == n * sizeof(*seen) && i < n; i++)
        files[i]->ahead = (struct qb_seen_ahead){.at = at,
                                                 .errnum = seen[i].errnum,
                                                 .dev = seen[i].dev,
                                                 .ino = seen[i].ino,
                                                 .size = seen[i].size};
}

void qb_look_ahead(struct qb_file *const *files, const size_t *numbers, size_t n)
{
    const struct qb_opener *by = files[0]->opener;
    QB_AUTO(qb_buf) struct qb_parcel *p = NULL;
    struct qb_wire_ahead *r;
    double at;

    if (!qb_look_asks(by) || n > QB_PARCEL_FILES || !(p = malloc(sizeof(*p))))
        return;
    r = (struct qb_wire_ahead *)p->bytes;
    *r = (struct qb_wire_ahead){.n = (uint32_t)n};
    for (size_t i = 0; i < n; i++)
        r->numbers[i] = numbers[i];
    p->len = sizeof(*r);
    p->n_fds = 0;
    at = qb_now();
    if (qb_helper_ask(by->helper, by->ahead, NULL, p) == 0)
        take_ahead(p, at, files, n);
}
