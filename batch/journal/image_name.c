/* Computes the names of images in journals. */
#include <stdlib.h>
#include <string.h>

#include "base/sizing.h"
#include "journal/run_journal.h"
#include "util/path.h"

bool qb_state_prepare(struct qb_batch *batch)
{
    const char *manifest = batch->manifest_path ? batch->manifest_path : "";

    /* Only the path of the manifest can be spelt differently the next time: paths in it cannot, and
     * are not resolved file by file. */
    batch->folder = strndup(manifest, qb_path_name_at(manifest));
    if (batch->folder)
        batch->real_folder = realpath(batch->folder[0] ? batch->folder : ".", NULL);
    qb_asks_note(batch);
    for (size_t i = 0; i < batch->n_jobs; i++)
        if (qb_sizing_adds(&batch->jobs[i].request))
            batch->jobs[i].size_added = batch->jobs[i].request.size;
    return batch->folder != NULL;
}

const char *qb_job_name(const struct qb_batch *batch, const struct qb_job *job, char buf[PATH_MAX])
{
    size_t typed = strlen(batch->folder),
           real = batch->real_folder ? strlen(batch->real_folder) : 0;
    const char *rest = job->path + typed;
    bool inside = strncmp(job->path, batch->folder, typed) == 0 && *rest != '/';
    size_t len;

    if (!inside || real == 0)
        return job->path;
    while (rest[0] == '.' && rest[1] == '/')
        rest += 2;
    len = strlen(rest);
    if (real + len + 2 > PATH_MAX)
        return job->path;
    memcpy(buf, batch->real_folder, real);
    if (buf[real - 1] != '/')
        buf[real++] = '/';
    memcpy(buf + real, rest, len + 1);
    return buf;
}
