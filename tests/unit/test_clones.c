/* What a journal holds of the clones of `backup: reflink`: as runs and restores write it down, and
 * as a later command, or a run that follows, reads it. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clones/prune.h"
#include "io/backend.h"
#include "outcome/outcome.h"
#include "journal/runs.h"
#include "scratch.h"

enum { RUNS = QB_RUNS_KEPT + 2 };

/* A run of one image, whose clone is a file. */
struct run {
    struct qb_batch batch;
    struct qb_state state;
    char image[200], clone[300];
    struct stat st;
};

static void run_begin(struct run *r, const char *name)
{
    struct qb_request rq;
    struct qb_err err;

    *r = (struct run){0};
    qb_request_init(&rq);
    qb_batch_init(&r->batch);
    snprintf(r->image, sizeof(r->image), "%s", make_file(name, "image", 5));
    CU_ASSERT_FATAL(qb_batch_add(&r->batch, r->image, 0, &rq) && qb_state_prepare(&r->batch));
    r->batch.policy.backup = QB_BACKUP_REFLINK;
    CU_ASSERT_EQUAL_FATAL(qb_state_begin(&r->state, scratch_folder(), &r->batch, &err), 0);
    snprintf(r->batch.backup_id, sizeof(r->batch.backup_id), "%s", r->state.id);
    snprintf(r->clone, sizeof(r->clone), "%s.%s.bak", r->image, r->state.id);
}

static void make_clone(struct run *r)
{
    const char *path = make_file(strrchr(r->clone, '/') + 1, "clone", 5);

    CU_ASSERT_EQUAL(stat(path, &r->st), 0);
    qb_clones_made(&r->state, &r->batch, &r->batch.jobs[0], &r->st);
}

static void image_ends(struct run *r, const char *path)
{
    struct qb_result result = {.status = QB_STATUS_CHANGED, .committed = true, .backed_up = true};
    struct qb_seen seen = qb_seen_at(path);

    qb_state_over(&r->state, &r->batch, &r->batch.jobs[0], &result, &seen, 0);
}

/* The journal as it is now; the run goes on. */
static const struct qb_clones *look(struct run *r, struct qb_history *h)
{
    struct qb_err err = {0};
    const struct qb_trace *t;

    CU_ASSERT_EQUAL(qb_journal_write(&r->state.journal), 0);
    CU_ASSERT_EQUAL_FATAL(qb_history_read(scratch_folder(), r->state.id, h, &err), 0);
    t = qb_history_find(h, r->image);
    CU_ASSERT_FATAL(t != NULL);
    CU_ASSERT(h->backup);
    return &t->clones;
}

static void run_end(struct run *r)
{
    struct qb_summary sum = {0};

    CU_ASSERT_EQUAL(qb_state_end(&r->state, &r->batch, &sum, 0), 0);
    qb_batch_free(&r->batch);
}

static void a_clone_is_found_again_by_name_identity_and_owner(void)
{
    const struct qb_clones *c;
    struct qb_history h;
    struct qb_seen now;
    struct run r;

    run_begin(&r, "not \xff utf-8");
    make_clone(&r);
    image_ends(&r, r.image);
    c = look(&r, &h);
    now = qb_seen_at(r.clone);
    CU_ASSERT_STRING_EQUAL(c->before.path, r.clone);
    CU_ASSERT(c->before.at != NULL && qb_seen_is_unwritten(&c->before.seen, &now));
    CU_ASSERT(c->before.uid == r.st.st_uid && c->before.gid == r.st.st_gid);
    CU_ASSERT(!c->restored && !c->unnamed && qb_clones_hold(c));
    qb_history_free(&h);
    qb_clones_pruned(&r.state.journal, r.image, false);
    c = look(&r, &h);
    CU_ASSERT(c->before.pruned && !qb_clones_hold(c));
    qb_history_free(&h);
    run_end(&r);
}

static void what_a_restore_left_is_known(void)
{
    const struct qb_clones *c;
    struct qb_history h;
    struct run r;

    run_begin(&r, "restored");
    make_clone(&r);
    image_ends(&r, r.image);
    qb_clones_restored(&r.state.journal, r.image, "/x/amended", &r.st);
    c = look(&r, &h);
    CU_ASSERT(c->restored && qb_clones_hold(c));
    CU_ASSERT_STRING_EQUAL(c->amended.path, "/x/amended");
    CU_ASSERT_EQUAL(c->amended.seen.ino, r.st.st_ino);
    CU_ASSERT(qb_history_find(&h, r.image)->undone);
    qb_clones_pruned(&r.state.journal, r.image, true);
    qb_history_free(&h);
    c = look(&r, &h);
    CU_ASSERT(c->amended.pruned && !c->before.pruned && !qb_clones_hold(c));
    qb_history_free(&h);

    /* The same run amends the restored image again, without a clone: the old one is that image. */
    image_ends(&r, r.clone);
    c = look(&r, &h);
    CU_ASSERT(!c->restored && c->before.path == NULL && c->unnamed);
    qb_history_free(&h);
    make_clone(&r);
    c = look(&r, &h);
    CU_ASSERT(!c->restored && c->before.path != NULL && !c->before.pruned);
    qb_history_free(&h);
    run_end(&r);
}

static void a_clone_of_an_earlier_version_has_no_name(void)
{
    const struct qb_clones *c;
    struct qb_history h;
    struct run r;

    run_begin(&r, "early");
    image_ends(&r, r.image);
    c = look(&r, &h);
    CU_ASSERT(c->unnamed && c->before.path == NULL && !qb_clones_hold(c));
    qb_history_free(&h);
    run_end(&r);
}

static bool journal_is_there(const char *id)
{
    char path[QB_JOURNAL_PATH];

    qb_state_dir_journal(scratch_folder(), id, path);
    return access(path, F_OK) == 0;
}

static void the_journal_of_a_clone_that_is_there_is_kept(void)
{
    char there[QB_RUN_ID], gone[QB_RUN_ID];
    struct run r;

    run_begin(&r, "there");
    make_clone(&r);
    image_ends(&r, r.image);
    memcpy(there, r.state.id, sizeof(there));
    run_end(&r);
    run_begin(&r, "gone");
    make_clone(&r);
    image_ends(&r, r.image);
    memcpy(gone, r.state.id, sizeof(gone));
    CU_ASSERT_EQUAL(unlink(r.clone), 0);
    run_end(&r);
    for (unsigned i = 0; i < RUNS; i++) {
        run_begin(&r, "later");
        image_ends(&r, r.image);
        run_end(&r);
    }
    qb_runs_prune(scratch_folder());
    CU_ASSERT(journal_is_there(there));
    CU_ASSERT_FALSE(journal_is_there(gone));
}

/* A journal is written by a process that reads images. */
static void no_file_of_another_name_is_removed(void)
{
    static const char *const ends[] = {"", ".bak", ".20260101-000000-aaaaab.bak",
                                       ".20260101-000000-aaaaaa.amended",
                                       ".20260101-000000-aaaaaa.bak"};
    struct qb_history run = {.id = "20260101-000000-aaaaaa"};
    struct qb_io *io = NULL;
    size_t n = sizeof(ends) / sizeof(ends[0]);

    CU_ASSERT_EQUAL_FATAL(qb_io_open(QB_IO_POSIX, &io, NULL, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        char name[64];
        struct qb_trace t = {.path = strdup(make_file("image", "image", 5))};
        struct qb_clone *c = &t.clones.before;
        struct qb_pruned done;
        struct qb_err err = {0};
        struct stat st;

        snprintf(name, sizeof(name), "victim%s", ends[i]);
        c->path = strdup(make_file(name, "clone", 5));
        CU_ASSERT_EQUAL_FATAL(stat(c->path, &st), 0);
        c->seen = qb_seen_of_stat(&st);
        c->uid = st.st_uid;
        c->gid = st.st_gid;
        CU_ASSERT_EQUAL(qb_prune_one(io, &run, &t, c, (struct qb_claim){.without_locks = true},
                                     false, &done, &err),
                        i == n - 1 ? 0 : -1);
        CU_ASSERT_EQUAL(access(c->path, F_OK) == 0, i < n - 1);
        CU_ASSERT_EQUAL(err.code, i == n - 1 ? QB_E_NONE : QB_E_REFUSED);
        unlink(c->path);
        free(t.path);
        qb_clones_free(&t.clones);
    }
    qb_io_close(io);
}

int main(void)
{
    static const struct unit_test tests[] = {
        UNIT(a_clone_is_found_again_by_name_identity_and_owner),
        UNIT(what_a_restore_left_is_known),
        UNIT(a_clone_of_an_earlier_version_has_no_name),
        UNIT(the_journal_of_a_clone_that_is_there_is_kept),
        UNIT(no_file_of_another_name_is_removed),
    };

    return scratch_main("clones", tests, UNIT_COUNT(tests));
}
