#include "job/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/own.h"
#include "opener/look.h"
#include "opener/named.h"
#include "job/backing_rewrite.h"

enum { LOCK_TIMEOUT_SECONDS = 60 };
#define MEMORY_BYTES (UINT64_C(512) << 20)

/* A punch costs a transaction of the file system, and often a discard of the disk, for each image:
 * more than the rest of a small amend. */
#define PUNCH_MIN_BYTES (UINT64_C(257) << 10)

struct qb_owners *qb_policy_owners(const struct qb_policy *policy, bool notes_places,
                                   struct qb_err *err)
{
    return qb_owners_new(&(struct qb_named_rules){.anybody = policy->owner_need_not_read,
                                                  .roots = policy->roots.items,
                                                  .n_roots = policy->roots.n,
                                                  .one_file_system = policy->one_file_system,
                                                  .notes_places = notes_places},
                         err);
}

bool qb_window_is_open(uint64_t window, unsigned minute)
{
    unsigned from = window ? (unsigned)((window - 1) / QB_DAY_MINUTES) : 0;
    unsigned to = window ? (unsigned)((window - 1) % QB_DAY_MINUTES) : QB_DAY_MINUTES;

    return from < to ? minute >= from && minute < to : minute >= from || minute < to;
}

void qb_batch_init(struct qb_batch *batch)
{
    *batch = (struct qb_batch){
        .ages_from = (uint64_t)time(NULL),
        .policy = {.lock_timeout_seconds = LOCK_TIMEOUT_SECONDS, .max_growth = UINT64_MAX},
        .limits = {.memory_bytes = MEMORY_BYTES},
    };
}

void qb_batch_free(struct qb_batch *batch)
{
    for (size_t i = 0; i < batch->n_jobs; i++)
        free(batch->jobs[i].path);
    free(batch->jobs);
    for (size_t i = 0; i < batch->n_others; i++)
        free(batch->others[i].path);
    free(batch->others);
    qb_vec_each (block, &batch->blocks)
        free(*block);
    qb_vec_free(&batch->blocks);
    qb_vec_free(&batch->outline);
    qb_vec_each (moves, &batch->moves)
        qb_moves_free(*moves);
    qb_vec_free(&batch->moves);
    qb_vec_free(&batch->scan);
    free(batch->name);
    free(batch->manifest_path);
    free(batch->folder);
    free(batch->real_folder);
    free(batch->state_dir);
    free(batch->typed);
    qb_origin_free(&batch->origin);
    *batch = (struct qb_batch){0};
}

void qb_request_init(struct qb_request *request)
{
    *request = (struct qb_request){
        .verify = QB_VERIFY_METADATA, .memory_limit = MEMORY_BYTES, .punch_min = PUNCH_MIN_BYTES};
}

void *qb_batch_block(struct qb_batch *batch, size_t size)
{
    char *block = calloc(1, size);

    if (block && qb_vec_push(&batch->blocks, block))
        return block;
    free(block);
    return NULL;
}

const char *qb_batch_keep(struct qb_batch *batch, const char *text, size_t len)
{
    char *copy = qb_batch_block(batch, len + 1);

    if (copy)
        memcpy(copy, text, len);
    return copy;
}

struct qb_moves *qb_batch_new_moves(struct qb_batch *batch)
{
    struct qb_moves *moves = qb_moves_new();

    if (moves && qb_vec_push(&batch->moves, moves))
        return moves;
    qb_moves_free(moves);
    return NULL;
}

bool qb_batch_add(struct qb_batch *batch, const char *path, unsigned line,
                  const struct qb_request *request)
{
    char *copy = strdup(path);

    if (!copy ||
        !qb_vec_room(&batch->jobs, batch->n_jobs, &batch->cap_jobs, sizeof(*batch->jobs))) {
        free(copy);
        return false;
    }
    batch->jobs[batch->n_jobs++] = (struct qb_job){.path = copy, .line = line, .request = *request};
    return true;
}

bool qb_batch_keep_only(struct qb_batch *batch, const bool *keep)
{
    struct qb_job *others = malloc((batch->n_jobs + 1) * sizeof(*others));
    size_t n = 0;

    if (!others)
        return false;
    for (size_t i = 0; i < batch->n_jobs; i++)
        if (keep[i])
            batch->jobs[n++] = batch->jobs[i];
        else
            others[batch->n_others++] = batch->jobs[i];
    batch->n_jobs = n;
    batch->others = others;
    return true;
}

uint64_t qb_min_free(const struct qb_policy *policy, uint64_t total)
{
    const struct qb_amount *keep = &policy->min_free;

    return keep->is_percent ? total / 100 * keep->n : keep->n;
}

char *qb_backup_path(const struct qb_batch *batch, const struct qb_job *job)
{
    QB_AUTO(qb_buf) char *real = qb_look_real(batch->opener, job->path);
    char *path = NULL;

    return !real || asprintf(&path, "%s.%s.bak", real, batch->backup_id) < 0 ? NULL : path;
}

char *qb_scan_path(const struct qb_scan_root *root)
{
    size_t len = strlen(root->folder);
    char *path = NULL;

    if (root->text[0] == '/' || len == 0)
        return strdup(root->text);
    if (asprintf(&path, "%s%s%s", root->folder, root->folder[len - 1] == '/' ? "" : "/",
                 root->text) < 0)
        return NULL;
    return path;
}
