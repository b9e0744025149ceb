/* The helper's side of look.h: decides what is told, and looks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "io/backend.h"
#include "opener/look_wire.h"

/* Those that it may open in any case. */
static bool is_open_to(struct qb_opening_rules *rules, const char *path)
{
    struct qb_claim how;

    return rules->is_image(rules->arg, path, &how) ||
           (rules->may_read && rules->may_read(rules->arg, path));
}

static struct qb_wire_seen put(const struct stat *st)
{
    return (struct qb_wire_seen){.mode = st->st_mode & S_IFMT,
                                 .uid = st->st_uid,
                                 .gid = st->st_gid,
                                 .dev = st->st_dev,
                                 .ino = st->st_ino,
                                 .links = st->st_nlink,
                                 .ctime = st->st_ctim.tv_sec,
                                 .ctime_ns = st->st_ctim.tv_nsec};
}

static struct qb_wire_seen look_at_any(struct qb_opening_rules *rules, unsigned channel,
                                       const char *path)
{
    struct stat st;
    int errnum = qb_look_judge(rules, rules->ios[channel]->owners, path, &st);

    return errnum ? (struct qb_wire_seen){.errnum = errnum} : put(&st);
}

static struct qb_wire_seen look(const char *path)
{
    struct qb_wire_seen seen;
    struct stat st, own;

    if (stat(path, &st) < 0)
        return (struct qb_wire_seen){.errnum = errno};
    seen = put(&st);
    seen.mode = st.st_mode;
    seen.size = (uint64_t)st.st_size;
    seen.blocks = (uint64_t)st.st_blocks;
    seen.mtime = st.st_mtim.tv_sec;
    seen.mtime_ns = st.st_mtim.tv_nsec;
    seen.is_link = lstat(path, &own) == 0 && S_ISLNK(own.st_mode);
    return seen;
}

static void find_real(const char *path, bool of_folder, struct qb_wire_looked *a)
{
    QB_AUTO(qb_buf) char *folder = of_folder ? qb_look_folder(path) : NULL;

    if (of_folder && !folder)
        a->seen.errnum = ENOMEM;
    else if (!realpath(of_folder ? folder : path, a->real))
        a->seen.errnum = errno;
    if (a->seen.errnum)
        a->real[0] = '\0';
}

void qb_looking_errand(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    const struct qb_wire_look *r = (const struct qb_wire_look *)request->bytes;
    struct qb_wire_looked *a = (struct qb_wire_looked *)answer->bytes;
    bool is_image;

    if (request->len != sizeof(*r) || !memchr(r->path, 0, sizeof(r->path)))
        return;
    *a = (struct qb_wire_looked){.seen = {.errnum = 0}};
    is_image = is_open_to(arg, r->path);
    if (r->what == QB_LOOKING_AT)
        a->seen = is_image ? look(r->path) : look_at_any(arg, request->channel, r->path);
    else if (is_image && (r->what == QB_LOOKING_REAL || r->what == QB_LOOKING_FOLDER))
        find_real(r->path, r->what == QB_LOOKING_FOLDER, a);
    else
        a->seen.errnum = EPERM;
    answer->len = sizeof(*a);
}

void qb_looking_many(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    struct qb_opening_rules *rules = arg;
    const struct qb_wire_ahead *r = (const struct qb_wire_ahead *)request->bytes;
    struct qb_wire_seen *seen = (struct qb_wire_seen *)answer->bytes;
    struct qb_claim how;

    if (request->len != sizeof(*r) || r->n > QB_PARCEL_FILES || !rules->image)
        return;
    for (uint32_t i = 0; i < r->n; i++) {
        const char *path = rules->image(rules->arg, r->numbers[i], &how);

        seen[i] = path ? look(path) : (struct qb_wire_seen){.errnum = EPERM};
    }
    answer->len = r->n * sizeof(seen[0]);
}
