#include "clones/backup_stays.h"

#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "files/file.h"
#include "clones/backup_look.h"

enum { HEADER = 512 };

static bool read_header(const char *path, unsigned char header[HEADER])
{
    QB_AUTO(qb_file_close) struct qb_file file = {.fd = -1};
    struct qb_err err;

    return qb_file_open(path, &file, &err) == 0 && pread(file.fd, header, HEADER, 0) == HEADER;
}

static bool have_equal_headers(const char *one, const char *other)
{
    unsigned char a[HEADER], b[HEADER];

    return read_header(one, a) && read_header(other, b) && memcmp(a, b, HEADER) == 0;
}

bool qb_backup_is_written(const struct qb_trace *t)
{
    enum qb_backup_state state = QB_BACKUP_GONE;

    if (t->clones.before.path)
        state = qb_backup_look(&t->clones, &t->clones.before);
    return state == QB_BACKUP_CHANGED || state == QB_BACKUP_REPLACED;
}

bool qb_backup_stays(const struct qb_trace *t, const char *path, bool *behind)
{
    const struct qb_clone *c = &t->clones.before;
    struct qb_seen now = qb_seen_at(path);

    *behind = !qb_seen_is_unwritten(&t->done, &now);
    return c->path && !t->undone && qb_backup_look(&t->clones, c) == QB_BACKUP_KEPT &&
           !have_equal_headers(c->path, path);
}
