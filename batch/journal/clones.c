#include "journal/clones.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "job/job.h"
#include "journal/run_journal.h"

static void clear(struct qb_clone *c)
{
    free(c->path);
    free(c->at);
    *c = (struct qb_clone){0};
}

void qb_clones_free(struct qb_clones *c)
{
    clear(&c->before);
    clear(&c->amended);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void take(struct qb_clone *c, const struct qb_parsed *record, const char *key)
{
    const char *at = qb_json_get_text(record, "at");

    clear(c);
    c->path = qb_json_get_path_of(record, key);
    c->at = at ? strdup(at) : NULL;
    c->seen = qb_seen_read(record);
    c->uid = qb_json_get_number(record, "uid", UINT64_MAX);
    c->gid = qb_json_get_number(record, "gid", UINT64_MAX);
}

static bool has_text(const struct qb_parsed *record, const char *key, const char *wanted)
{
    const char *text = qb_json_get_text(record, key);

    return text && strcmp(text, wanted) == 0;
}

/* A clone that took the image's place, and was amended in it. */
static void note_amended(struct qb_clones *c, const struct qb_parsed *record)
{
    struct qb_seen seen = qb_seen_read(record);

    c->restored = false;
    if (qb_seen_is_same(&c->before.seen, &seen))
        clear(&c->before);
}

void qb_clones_note(struct qb_clones *c, const struct qb_parsed *record, const char *is)
{
    if (strcmp(is, "cloned") == 0) {
        take(&c->before, record, "clone");
        c->restored = c->behind = false;
    } else if (strcmp(is, "clone_stays") == 0) {
        c->behind = true;
    } else if (strcmp(is, "undone") == 0 && has_text(record, "by", "restore")) {
        take(&c->amended, record, "amended");
        c->restored = true;
    } else if (strcmp(is, "pruned") == 0) {
        *(has_text(record, "file", "amended") ? &c->amended.pruned : &c->before.pruned) = true;
    } else if (strcmp(is, "changed") == 0) {
        note_amended(c, record);
        c->unnamed = qb_json_get_bool(record, "backup") && !c->before.path;
    }
}

bool qb_clones_hold(const struct qb_clones *c)
{
    return (c->before.path && !c->before.pruned && !c->restored) ||
           (c->amended.path && !c->amended.pruned);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void put(struct qb_journal *j, const char *key, const char *path, const struct stat *st)
{
    struct qb_seen seen = qb_seen_of_stat(st);

    qb_journal_path_of(j, key, path);
    qb_seen_put(j, &seen);
    qb_journal_number(j, "uid", st->st_uid);
    qb_journal_number(j, "gid", st->st_gid);
}

void qb_clones_made(struct qb_state *s, const struct qb_batch *batch, const struct qb_job *job,
                    const struct stat *clone)
{
    QB_AUTO(qb_buf) char *path = qb_backup_path(batch, job);
    struct qb_journal *j = &s->journal;
    char name[PATH_MAX];

    if (!path)
        return;
    qb_journal_begin(j, "cloned");
    qb_journal_path(j, qb_job_name(batch, job, name));
    put(j, "clone", path, clone);
    qb_state_stamp(j, "at");
    qb_journal_end(j);
}

void qb_clones_stay(struct qb_state *s, const struct qb_batch *batch, const struct qb_job *job)
{
    char name[PATH_MAX];

    qb_journal_begin(&s->journal, "clone_stays");
    qb_journal_path(&s->journal, qb_job_name(batch, job, name));
    qb_journal_end(&s->journal);
}

void qb_clones_restored(struct qb_journal *j, const char *image, const char *amended,
                        const struct stat *st)
{
    qb_journal_begin(j, "undone");
    qb_journal_path(j, image);
    qb_journal_text(j, "by", "restore");
    if (amended)
        put(j, "amended", amended, st);
    qb_state_stamp(j, "at");
    qb_journal_end(j);
}

void qb_clones_pruned(struct qb_journal *j, const char *image, bool amended)
{
    qb_journal_begin(j, "pruned");
    qb_journal_path(j, image);
    qb_journal_text(j, "file", amended ? "amended" : "clone");
    qb_state_stamp(j, "at");
    qb_journal_end(j);
}
