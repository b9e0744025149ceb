#include "clones/backup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "journal/state_dir.h"
#include "io/clone.h"
#include "chain/probe.h"
#include "util/path.h"

/* ---- before anything is touched -------------------------------------------------------------- */

typedef QB_VEC(dev_t) devices;

static bool is_known(const devices *seen, dev_t dev)
{
    for (size_t i = 0; i < seen->n; i++)
        if (seen->items[i] == dev)
            return true;
    return false;
}

/* One try for each file system.  The run reports images that are missing. */
static int probe(const char *path, bool dry_run, devices *seen, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *real = realpath(path, NULL);
    QB_AUTO(qb_buf) char *folder = real ? qb_path_folder(real) : NULL;
    struct qb_err why = {.offset = QB_NOWHERE};
    struct stat st;

    if (!real || stat(path, &st) < 0)
        return 0;
    if (!folder)
        return qb_fail_memory(err);
    if (!S_ISREG(st.st_mode))
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                       "backup: reflink: %.250s is not a file and cannot be cloned", path);
    if (is_known(seen, st.st_dev))
        return 0;
    if (!qb_vec_push(seen, st.st_dev))
        return qb_fail_memory(err);
    if (dry_run)
        return qb_clone_look(folder, err);
    if (qb_clone_probe(folder, &why) == 0 || why.code == QB_E_NO_SPACE)
        return 0; /* a lack of space is one of the images there */
    *err = why;
    return -1;
}

int qb_backup_prepare(struct qb_batch *batch, bool dry_run, struct qb_err *err)
{
    devices seen = {0};
    int r = 0;

    if (batch->policy.backup == QB_BACKUP_NONE)
        return 0;
    snprintf(batch->backup_id, sizeof(batch->backup_id), "%s",
             batch->run_id[0] ? batch->run_id : qb_state_dir_new_id().text);
    for (size_t i = 0; r == 0 && i < batch->n_jobs; i++)
        if (!batch->jobs[i].already)
            r = probe(batch->jobs[i].path, dry_run, &seen, err);
    qb_vec_free(&seen);
    return r;
}

/* ---- one image ------------------------------------------------------------------------------- */

enum { LONGER = sizeof("amended") - sizeof("bak") }; /* see restore.c */

/* A raw disk that a killed attempt made longer has its length from before: as an image it would
 * have another one. */
static uint64_t length_of(const struct qb_job *job, const struct qb_file *image)
{
    unsigned char sector[512] = {0};

    if (!(job->request.set & QB_KEY_CONVERT) || job->abandoned_from == 0 ||
        pread(image->fd, sector, sizeof(sector), 0) < 0 ||
        strcmp(qb_probe_magic(sector), "raw") != 0)
        return UINT64_MAX;
    return job->abandoned_from;
}

int qb_backup_make(const struct qb_batch *batch, const struct qb_job *job,
                   const struct qb_file *image, struct stat *made, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *real = realpath(job->path, NULL);
    char suffix[sizeof(batch->backup_id) + 8];

    snprintf(suffix, sizeof(suffix), ".%s.bak", batch->backup_id);
    if (!real)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot clone");
    if (strlen(real + qb_path_name_at(real)) + strlen(suffix) + LONGER > NAME_MAX)
        return qb_fail_sys(
            err, ENAMETOOLONG, QB_NOWHERE,
            "a clone of %.250s could not be restored: the name is too long that the amended "
            "image would be kept under",
            real);
    return qb_clone_make(image, length_of(job, image), real, suffix, made, err);
}

void qb_backup_remove(const struct qb_batch *batch, const struct qb_job *job)
{
    QB_AUTO(qb_buf) char *path = qb_backup_path(batch, job);

    if (path)
        unlink(path);
}
