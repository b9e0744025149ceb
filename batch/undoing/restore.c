#include "undoing/restore.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/result.h"
#include "host/sched.h"
#include "files/put_back.h"
#include "files/way.h"
#include "qcow2/disk.h"
#include "clones/backup_look.h"
#include "clones/read_apart.h"
#include "util/path.h"

/* One image and its clone. */
struct restoring {
    const struct qb_takeback *t;
    const struct qb_trace *trace;
    struct qb_io *io;
    struct qb_claim how;
    char *real;        /* the resolved path of the image */
    struct qb_way way; /* to it */
    struct qb_file image, clone;
    struct qb_apart told[2];                      /* of the clone, and of the image */
    char from[NAME_MAX + 1], aside[NAME_MAX + 1]; /* names of the clone, and of the amended image */
    struct qb_result *result;
    struct qb_err *err;
};

/* Of a run that was killed the journal may not tell whether an image was amended, and of a restore
 * that was killed not that the clone is the image. */
bool qb_restore_is_possible(const struct qb_trace *t)
{
    const struct qb_clone *c = &t->clones.before;

    return c->path && !c->pruned &&
           (qb_backup_look(&t->clones, c) != QB_BACKUP_GONE ||
            qb_backup_look_at_image(t) == QB_IMAGE_RESTORED);
}

/* ---- what the journal says ------------------------------------------------------------------- */

static int check_journal(const struct restoring *r)
{
    const struct qb_trace *t = r->trace;

    if (t->clones.unnamed)
        return qb_fail(r->err, QB_E_REFUSED, QB_NOWHERE,
                       "the journal does not tell which file the clone is: it is of an earlier "
                       "version of qbatch");
    if (!t->clones.before.path)
        return qb_fail(r->err, QB_E_REFUSED, QB_NOWHERE, "the run made no clone of this image");
    if (t->clones.before.pruned)
        return qb_fail(r->err, QB_E_REFUSED, QB_NOWHERE, "backup prune has removed the clone");
    if (t->undone && !t->clones.restored && !r->t->discard_writes)
        return qb_fail(r->err, QB_E_REFUSED, QB_NOWHERE, "the image was undone already");
    return 0;
}

/* ---- the files ------------------------------------------------------------------------------- */

static int follow_none(void *arg, const struct qb_way *way, struct qb_err *err)
{
    (void)arg;
    return qb_fail(err, QB_E_CHANGED, QB_NOWHERE,
                   "\"%.80s\" in the path of the image became a symbolic link", way->name);
}

static bool make_name(const struct restoring *r, char out[NAME_MAX + 1], const char *end)
{
    return snprintf(out, NAME_MAX + 1, "%s.%s.%s", r->way.name, r->t->history->id, end) <= NAME_MAX;
}

/* The clone must be beside the image still, under the name that it was given. */
static int find_names(struct restoring *r)
{
    const char *clone = r->trace->clones.before.path;
    size_t folder = qb_path_name_at(r->real);

    if (!make_name(r, r->from, "bak") || !make_name(r, r->aside, "amended"))
        return qb_fail_sys(r->err, ENAMETOOLONG, QB_NOWHERE, "cannot keep the amended image");
    if (folder != qb_path_name_at(clone) || strncmp(r->real, clone, folder) != 0 ||
        strcmp(r->from, clone + folder) != 0)
        return qb_fail(r->err, QB_E_CHANGED, QB_NOWHERE,
                       "the image's path leads to another place than in the run; its clone is "
                       "%.200s",
                       clone);
    return 0;
}

static int find_image(struct restoring *r)
{
    const struct qb_way_rules rules = {.link = follow_none};

    r->real = realpath(r->trace->path, NULL);
    if (!r->real)
        return qb_fail_sys(r->err, errno, QB_NOWHERE, "cannot open the file");
    if (qb_way_follow(r->real, &rules, &r->way, r->err) < 0 || find_names(r) < 0 ||
        qb_file_claim(r->io, r->real, r->how, &r->image, r->err) < 0)
        return -1;
    r->result->file_size_before = r->result->file_size_after = r->image.size;
    r->result->without_locks = r->image.without_locks;
    r->result->writers_unseen = r->image.writers_unseen;
    if (r->image.dev != r->way.st.st_dev || r->image.ino != r->way.st.st_ino)
        return qb_fail(r->err, QB_E_CHANGED, QB_NOWHERE, "another file took the image's place");
    return 0;
}

/* Whether the image is what the run left, or only its writes are to be given up. */
static int check_image(const struct restoring *r)
{
    struct qb_seen now = qb_seen_of(r->image.fd);
    const struct qb_seen *done = &r->trace->done;

    if (done->valid && !qb_seen_is_same(done, &now))
        return qb_fail(
            r->err, QB_E_CHANGED, QB_NOWHERE,
            "another file took the image's place since the run (a restore of a later run "
            "does that, too); to have the clone all the same, give that file another name, and "
            "the image's name to %.200s",
            r->from);
    if (r->t->discard_writes)
        return 0;
    if (r->trace->clones.behind)
        return qb_fail(r->err, QB_E_CHANGED, QB_NOWHERE,
                       "the run went on with the image in a later attempt, and the clone, which is "
                       "of the first one, would not have what was written in between; "
                       "--discard-writes permits that, and keeps the amended image as %.200s",
                       r->aside);
    if (qb_seen_is_unwritten(done, &now))
        return 0;
    if (!done->valid)
        return qb_fail(r->err, QB_E_CHANGED, QB_NOWHERE,
                       "how the run left the image is not recorded, so it may have been written "
                       "since; --discard-writes restores it all the same, and keeps the amended "
                       "image as %.200s",
                       r->aside);
    return qb_fail(r->err, QB_E_CHANGED, QB_NOWHERE,
                   "the image was written since the run amended it, and the restored image would "
                   "not have what was written; --discard-writes permits that, and keeps the "
                   "amended image as %.200s",
                   r->aside);
}

static int check_clone(const struct restoring *r)
{
    const char *path = r->trace->clones.before.path;
    struct stat st;

    if (fstat(r->clone.fd, &st) < 0)
        return qb_fail_sys(r->err, errno, QB_NOWHERE, "cannot look at the clone");
    switch (qb_backup_compare(&r->trace->clones.before, &st)) {
    case QB_BACKUP_KEPT:
        break;
    case QB_BACKUP_CHANGED:
        return qb_fail(r->err, QB_E_CHANGED, QB_NOWHERE,
                       "the clone was written, or given to another owner, since the run: %.200s",
                       path);
    default:
        return qb_fail(r->err, QB_E_CHANGED, QB_NOWHERE, "another file is at %.200s now", path);
    }
    if (st.st_uid != r->image.uid || st.st_gid != r->image.gid)
        return qb_fail(r->err, QB_E_REFUSED, QB_NOWHERE,
                       "the image belongs to %u:%u, and its clone to %u:%u: give them one owner",
                       (unsigned)r->image.uid, (unsigned)r->image.gid, (unsigned)st.st_uid,
                       (unsigned)st.st_gid);
    return 0;
}

static int find_clone(struct restoring *r)
{
    char text[sizeof(r->err->text)];

    if (qb_file_claim(r->io, r->trace->clones.before.path, r->how, &r->clone, r->err) == 0)
        return check_clone(r);
    memcpy(text, r->err->text, sizeof(text));
    snprintf(r->err->text, sizeof(r->err->text), "the clone: %.250s", text);
    return -1;
}

/* ---- what they hold -------------------------------------------------------------------------- */

/* Of a run that made an image of it, a clone that begins like none is the raw disk. */
static bool is_raw_disk(const struct restoring *r)
{
    return r->trace->header_at && !r->told[0].is_image && r->told[0].err.code == QB_E_NOT_QCOW2;
}

/* The clone must be an image, or the raw disk that it was; the one that it replaces may be damaged.
 */
static int describe(struct restoring *r)
{
    struct qb_file *const files[] = {&r->clone, &r->image};

    if (qb_read_apart(files, 2, r->told, r->err) < 0)
        return -1;
    if (is_raw_disk(r)) {
        r->told[0].info = (struct qb_info){.format = "raw",
                                           .virtual_size = qb_round_up(r->clone.size, QB_SECTOR)};
    } else if (!r->told[0].is_image) {
        *r->err = r->told[0].err;
        return -1;
    }
    r->result->after = &r->told[0].info;
    r->result->file_size_after = r->clone.size;
    if (r->told[1].is_image)
        r->result->before = &r->told[1].info;
    return 0;
}

/* ---- writes below ---------------------------------------------------------------------------- */

static struct qb_put_back names_of(const struct restoring *r)
{
    return (struct qb_put_back){.dir = r->way.dir,
                                .name = r->way.name,
                                .from = r->from,
                                .aside = r->aside,
                                .there = &r->image,
                                .back = &r->clone};
}

/* The clone is the image: what is left is the name of the amended one, and the record. */
static int finish(struct restoring *r)
{
    struct qb_put_back names = names_of(r);
    QB_AUTO(qb_buf) char *path = NULL;
    struct stat st;
    int done = qb_put_aside(&names, r->trace->done.ino, &st, r->err);

    if (asprintf(&path, "%.*s%s", (int)qb_path_name_at(r->real), r->real, r->aside) < 0)
        path = NULL;
    if (done == 0)
        qb_clones_restored(r->t->journal, r->trace->path, st.st_ino ? path : NULL, &st);
    return done;
}

static int exchange(struct restoring *r)
{
    struct qb_put_back names = names_of(r);

    if (check_image(r) < 0 || find_clone(r) < 0 || qb_put_back_check(&names, r->err) < 0 ||
        describe(r) < 0)
        return -1;
    r->result->status = QB_STATUS_WOULD_CHANGE;
    if (r->t->options.dry_run)
        return 0;
    if (qb_put_back(&names, r->err) < 0 || finish(r) < 0)
        return -1;
    r->result->status = QB_STATUS_CHANGED;
    return 0;
}

static int restore(struct restoring *r)
{
    if (check_journal(r) < 0 || find_image(r) < 0)
        return -1;
    if (r->image.ino != r->trace->clones.before.seen.ino)
        return exchange(r);
    r->result->status = QB_STATUS_UNCHANGED;
    return r->t->options.dry_run || r->trace->clones.restored ? 0 : finish(r);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void release(struct restoring *r)
{
    qb_file_close(&r->clone);
    qb_file_close(&r->image);
    qb_way_close(&r->way);
    free(r->real);
}

static void restore_one(const struct qb_takeback *t, struct qb_io *io, size_t job,
                        struct qb_outcome *outcome)
{
    struct qb_err err = {0};
    struct restoring r = {
        .t = t,
        .trace = t->traces[job],
        .io = io,
        .how.without_locks = t->batch->jobs[job].request.without_locks,
        .how.on_link = t->batch->jobs[job].request.on_link,
        .way = {.dir = -1, .fd = -1},
        .image.fd = -1,
        .clone.fd = -1,
        .result = &outcome->result,
        .err = &err,
    };

    outcome->result.status = QB_STATUS_FAILED;
    if (t->options.stopped && t->options.stopped()) {
        outcome->result.status = QB_STATUS_INTERRUPTED;
        qb_fail(&err, QB_E_CANCELLED, QB_NOWHERE, "interrupted before the image was changed");
    } else if (restore(&r) < 0) {
        outcome->result.status = QB_STATUS_FAILED;
        outcome->result.after = NULL;
    }
    outcome->result.err = qb_failure_of(&err);
    qb_result_own(&outcome->result);
    release(&r);
}

struct body {
    const struct qb_takeback *t;
    const struct qb_listener *listener;
    struct qb_sched *sched;
};

static void restore_all(void *arg)
{
    struct body *b = arg;

    for (size_t i = 0; i < b->t->batch->n_jobs; i++) {
        struct qb_outcome outcome = {0};

        restore_one(b->t, qb_sched_io(b->sched), i, &outcome);
        qb_journal_write(b->t->journal);
        qb_listener_tell(b->listener, i, &outcome);
    }
    if (b->listener->pause)
        b->listener->pause(b->listener->arg);
}

int qb_restore_run(const struct qb_takeback *t, const struct qb_listener *listener,
                   struct qb_err *err)
{
    struct body b = {t, listener, NULL};

    return qb_takeback_on_workers(t, &b.sched, restore_all, &b, err);
}
