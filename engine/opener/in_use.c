#include "opener/in_use.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "io/backend.h"
#include "files/links.h"
#include "opener/opener.h"

enum { RETRIES = 2, PAUSE_US = 1000 };

/* A more precise message if the writer is QEMU and holds its locks.  A guest will not go away soon,
 * so no retry. */
static int fail_open_for_writing(const struct qb_file *file, bool *passing, struct qb_err *err)
{
    if (qb_file_look_for_locks(file, err) < 0) {
        *passing = false;
        return -1;
    }
    return qb_fail(err, QB_E_LOCKED, QB_NOWHERE,
                   "image is in use: another program has it open for writing, or a lease on it, "
                   "without QEMU's locks (`fuser -v` names it)");
}

/* A read lease is granted if no process, this one included, has the file open for writing, and none
 * is still to release a lease.  While it is held, an open for writing waits, and the holder is sent
 * a signal: one that is ignored by default, since SIGIO would end a process that does not ignore
 * it. */
static int look_for_writers(const struct qb_io *io, struct qb_file *file, bool stays_open,
                            bool *passing, struct qb_err *err)
{
    int errnum = 0;

    if ((!io->spared && fcntl(file->fd, F_SETSIG, SIGURG) < 0) ||
        fcntl(file->fd, F_SETLEASE, F_RDLCK) < 0)
        errnum = errno;
    else if (stays_open) /* else closing the descriptor ends the lease */
        fcntl(file->fd, F_SETLEASE, F_UNLCK);
    if (errnum == EAGAIN)
        return fail_open_for_writing(file, passing, err);
    if (errnum == ENOMEM)
        return qb_fail_memory(err);
    file->writers_unseen = errnum != 0;
    return 0;
}

/* Held until the file is closed. */
static int take_flock(const struct qb_file *file, struct qb_err *err)
{
    if (flock(file->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return qb_fail(err, QB_E_LOCKED, QB_NOWHERE,
                       "image is locked: another program holds its flock(2) lock (`fuser -v` names "
                       "it)");
    return 0;
}

static int check_mount(struct qb_io *io, struct qb_file *file, struct qb_claim how, bool *here,
                       struct qb_err *err)
{
    const struct qb_mount *mount = qb_mounts_find(&io->mounts, file);

    if (!mount)
        return qb_fail_memory(err);
    *here = mount->locking == QB_LOCKING_HERE;
    file->without_locks = mount->locking == QB_LOCKING_NONE;
    if (file->without_locks && !how.without_locks)
        return qb_fail(err, QB_E_NO_LOCKS, QB_NOWHERE,
                       "whether the image is in use elsewhere cannot be known on this file system "
                       "(%s): %s",
                       mount->type, mount->why);
    return 0;
}

static int lock(struct qb_file *file, struct qb_claim how, struct qb_err *err)
{
    struct qb_err why;

    if (qb_file_lock(file, true, &why) == 0)
        return 0;
    if (why.code == QB_E_NO_LOCKS && how.without_locks) {
        file->without_locks = true;
        return qb_file_measure(file, err);
    }
    *err = why;
    return -1;
}

/* One attempt.  The file is left open after a failure; *passing says whether that may be over soon.
 * The locks have retries of their own. */
static int try_claim(struct qb_io *io, const char *path, struct qb_claim how, struct qb_file *out,
                     bool *passing, struct qb_err *err)
{
    bool here = false;

    *passing = true;
    if (qb_file_open_to_claim(path, out, err) < 0)
        return -1;
    if (out->mem) {
        out->writable = how.writable;
        return 0;
    }
    if (qb_links_check(out, how.on_link, err) < 0)
        return -1;
    if (!out->is_block_device && check_mount(io, out, how, &here, err) < 0)
        return -1;
    if (here && look_for_writers(io, out, !how.writable, passing, err) < 0)
        return -1;
    if (how.writable && qb_file_reopen_writable(out, err) < 0)
        return -1;
    /* Another file may have been at the path when it was first judged: the one that was looked at
     * before, to which a link leads again. */
    if (how.writable && qb_links_check(out, how.on_link, err) < 0)
        return -1;
    if (here && take_flock(out, err) < 0)
        return -1;
    if (lock(out, how, err) == 0)
        return 0;
    *passing = err->code == QB_E_CHANGED;
    return -1;
}

int qb_file_claim(struct qb_io *io, const char *path, struct qb_claim how, struct qb_file *out,
                  struct qb_err *err)
{
    struct qb_err why = {0};
    bool passing = true;

    if (io->opener)
        return qb_opener_open(io, &(struct qb_to_open){.what = QB_OPENING_CLAIM, .path = path}, out,
                              err);
    for (unsigned attempt = 0; passing && attempt <= RETRIES; attempt++) {
        uint64_t size;

        if (attempt > 0)
            usleep(PAUSE_US);
        *out = (struct qb_file){.fd = -1};
        if (try_claim(io, path, how, out, &passing, &why) == 0) {
            qb_io_opened(io, out);
            return 0;
        }
        size = out->size;
        qb_file_close(out);
        out->size = size;
        /* CHANGED: a file of an overlay file system becomes another one when it is first opened for
         * writing. */
        passing &= why.code == QB_E_LOCKED || why.code == QB_E_CHANGED;
    }
    if (err)
        *err = why;
    return -1;
}

int qb_image_file_open(struct qb_io *io, const char *path, struct qb_file *out, struct qb_err *err)
{
    if (io->opener)
        return qb_opener_open(io, &(struct qb_to_open){.what = QB_OPENING_IMAGE, .path = path}, out,
                              err);
    return qb_file_open(path, out, err);
}

int qb_image_file_begin(struct qb_io *io, const char *path, struct qb_file *opened,
                        bool without_locks, struct qb_file *out, struct qb_err *err)
{
    bool is_open = opened && opened->fd >= 0;

    *out = is_open ? *opened : (struct qb_file){.fd = -1};
    if (is_open)
        *opened = (struct qb_file){.fd = -1};
    else if (qb_image_file_open(io, path, out, err) < 0)
        return -1;
    qb_io_opened(io, out);
    if (!without_locks)
        return qb_file_lock(out, false, err);
    return is_open ? qb_file_measure(out, err) : 0;
}
