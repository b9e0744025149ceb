#include "journal/runs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/own.h"
#include "shard/shard.h"

enum {
    HELD_TRIES = 50,
    HELD_WAIT_NS = 20 * 1000 * 1000,
};

/* ---- which one ------------------------------------------------------------------------------- */

void qb_runs_manifest(const struct qb_batch *batch, char out[PATH_MAX])
{
    const char *path = batch->manifest_path ? batch->manifest_path : "";

    if (strcmp(path, "-") == 0 || !*path || !realpath(path, out))
        snprintf(out, PATH_MAX, "%s", path);
}

bool qb_glance_concerns(const struct qb_glance *g, const struct qb_batch *batch,
                        const char *manifest)
{
    return g->manifest && strcmp(g->manifest, manifest) == 0 &&
           qb_shards_overlap(g->shard, batch->origin.shard);
}

/* A shard resumes its own runs, even while others of the manifest are under way.  A batch that has
 * none yet gets the one of the run. */
static bool is_of_another_shard(const char *dir, struct qb_run_id id, const struct qb_batch *batch)
{
    struct qb_shard shard = batch->origin.shard;
    struct qb_glance g;
    bool another;

    if (!shard.of)
        return false;
    qb_glance_at(dir, id, &g);
    another = g.manifest && !qb_shard_covers(shard, g.shard);
    qb_glance_free(&g);
    return another;
}

/* Whether a run is what was asked for; what a glance cannot tell is left to reading it. */
static bool may_be(const struct qb_glance *g, const char *manifest, enum qb_runs_with with)
{
    if (g->lost || g->held || !g->manifest || strcmp(g->manifest, manifest) != 0)
        return false;
    return !g->is_readable || with != QB_RUNS_UNFINISHED || g->unfinished;
}

static bool is_it(const struct qb_history *h, enum qb_runs_with with)
{
    if (with == QB_RUNS_FAILED)
        return qb_history_count_failed(h) > 0;
    return qb_history_is_unfinished(h) ||
           (with == QB_RUNS_UNDONE && !h->superseded && qb_history_count_undone(h) > 0);
}

/* 1 with the journal open, 0 when it is not the one, -1. */
static int try_run(const char *dir, struct qb_run_id id, const char *manifest,
                   enum qb_runs_with with, struct qb_history *h, struct qb_journal *j,
                   struct qb_err *err)
{
    struct qb_glance g;
    bool may;

    qb_glance_at(dir, id, &g);
    may = may_be(&g, manifest, with);
    qb_glance_free(&g);
    if (!may)
        return 0;
    if (qb_history_reopen(dir, id.text, h, j, err) < 0) {
        qb_history_free(h);
        return -1;
    }
    if (is_it(h, with))
        return 1;
    qb_journal_close(j);
    qb_history_free(h);
    return 0;
}

bool qb_runs_is_busy(const char *dir, struct qb_run_id id, const char *manifest)
{
    struct qb_glance g;
    bool busy = true;

    for (unsigned tries = 0; busy && tries < HELD_TRIES; tries++) {
        if (tries > 0)
            nanosleep(&(struct timespec){.tv_nsec = HELD_WAIT_NS}, NULL);
        qb_glance_at(dir, id, &g);
        busy = g.held && g.manifest && strcmp(g.manifest, manifest) == 0;
        qb_glance_free(&g);
    }
    return busy;
}

static int newest(const char *dir, enum qb_runs_with with, const struct qb_batch *batch,
                  struct qb_history *h, struct qb_journal *j, struct qb_err *err)
{
    static const char *const none[] = {
        [QB_RUNS_UNFINISHED] = "no unfinished run of this manifest",
        [QB_RUNS_FAILED] = "no run of this manifest in which an image failed or was locked",
        [QB_RUNS_UNDONE] = "no run of this manifest that is unfinished or was undone",
    };
    char manifest[PATH_MAX];
    qb_run_ids ids = {0};
    int r = qb_state_dir_list(dir, &ids, err);

    qb_runs_manifest(batch, manifest);
    for (size_t i = ids.n; r == 0 && i-- > 0;) {
        if (is_of_another_shard(dir, ids.items[i], batch))
            continue;
        if (qb_runs_is_busy(dir, ids.items[i], manifest))
            r = qb_fail(err, QB_E_LOCKED, QB_NOWHERE, "run %s: in use by another qbatch process",
                        ids.items[i].text);
        else
            r = try_run(dir, ids.items[i], manifest, with, h, j, err);
    }
    qb_vec_free(&ids);
    if (r != 0)
        return r > 0 ? 0 : -1;
    return qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE, "%s", none[with]);
}

static void fail_nothing_left(const struct qb_history *h, enum qb_runs_with with,
                              struct qb_err *err)
{
    size_t undone = qb_history_count_undone(h);

    if (with == QB_RUNS_FAILED)
        qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE, "no image of run %s failed or was locked", h->id);
    else if (undone && with != QB_RUNS_UNDONE)
        qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE,
                "run %s is finished; --redo amends the images that were undone (%zu)", h->id,
                undone);
    else
        qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE, "run %s is finished", h->id);
}

int qb_runs_reopen(const char *dir, const char *word, enum qb_runs_with with,
                   const struct qb_batch *batch, struct qb_history *h, struct qb_journal *j,
                   struct qb_err *err)
{
    char manifest[PATH_MAX];
    struct qb_run_id id;

    if (!word)
        return newest(dir, with, batch, h, j, err);
    if (qb_state_dir_pick(dir, word, &id, err) < 0)
        return -1;
    qb_runs_manifest(batch, manifest);
    qb_runs_is_busy(dir, id, manifest);
    if (qb_history_reopen(dir, id.text, h, j, err) < 0) {
        qb_history_free(h);
        return -1;
    }
    h->superseded = false; /* it was named */
    if (is_it(h, with))
        return 0;
    fail_nothing_left(h, with, err);
    qb_journal_close(j);
    qb_history_free(h);
    return -1;
}

/* ---- old ones -------------------------------------------------------------------------------- */

static bool is_there(const struct qb_clone *c)
{
    return c->path && !c->pruned && access(c->path, F_OK) == 0;
}

/* Whether a file is there that a run or a restore left beside an image. */
static bool has_clone(const char *dir, struct qb_run_id id)
{
    struct qb_history h;
    struct qb_err err;
    bool has = qb_history_read(dir, id.text, &h, &err) < 0;

    for (size_t i = 0; !has && i < h.traces.n; i++) {
        const struct qb_clones *c = &h.traces.items[i].clones;

        has = qb_clones_hold(c) && (is_there(&c->before) || is_there(&c->amended));
    }
    qb_history_free(&h);
    return has;
}

/* Of an ended run that has kept something, only all of its records, or a tally of them, tell
 * whether that is still there. */
static void glance_or_tally(const char *dir, struct qb_run_id id, struct qb_glance *g)
{
    qb_glance_at(dir, id, g);
    if (g->held || g->unfinished || !(g->undo || g->backup) || g->from_all || g->tallied)
        return;
    qb_glance_free(g);
    qb_runs_tally(dir, id);
    qb_glance_at(dir, id, g);
}

/* A journal that cannot be read counts as unfinished: it is kept for inspection. */
static bool is_needed(const char *dir, struct qb_run_id id)
{
    struct qb_glance g;
    bool kept, needed;

    glance_or_tally(dir, id, &g);
    kept = g.undo || g.backup;
    needed = g.held || g.unfinished || (kept && !g.from_all && !g.tallied) || g.holds_undo ||
             (g.names_clones && has_clone(dir, id));
    if (needed && g.from_all && !g.held)
        qb_runs_tally(dir, id);
    qb_glance_free(&g);
    return needed;
}

void qb_runs_prune(const char *dir)
{
    qb_run_ids ids = {0};
    struct qb_err err;

    if (qb_state_dir_list(dir, &ids, &err) == 0)
        for (size_t i = 0; i + QB_RUNS_KEPT < ids.n; i++) {
            if (is_needed(dir, ids.items[i]))
                continue;
            qb_state_dir_remove(dir, ids.items[i].text);
        }
    qb_vec_free(&ids);
}
