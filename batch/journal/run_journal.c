#include "journal/run_roots.h"
#include "journal/run_journal.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "plan/proof.h"
#include "base/be.h"
#include "base/sizing.h"
#include "qcow2/header.h"
#include "qcow2/l2.h"

void qb_state_stamp(struct qb_journal *j, const char *key)
{
    char text[32];
    time_t now = time(NULL);
    struct tm utc;

    gmtime_r(&now, &utc);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
    qb_journal_text(j, key, text);
}

static void text_of(struct qb_journal *j, const char *key, const char *text)
{
    if (text)
        qb_journal_text(j, key, text);
}

void qb_state_origin(struct qb_journal *j, const struct qb_origin *origin)
{
    char key[40];

    text_of(j, "host", origin->host);
    text_of(j, "caller", origin->caller);
    text_of(j, "command_line", origin->command);
    if (origin->labels.n)
        qb_journal_number(j, "labels", origin->labels.n);
    for (size_t i = 0; i < origin->labels.n; i++) {
        snprintf(key, sizeof(key), "label_%zu", i + 1);
        qb_journal_text(j, key, origin->labels.items[i].key);
        snprintf(key, sizeof(key), "value_%zu", i + 1);
        qb_journal_text(j, key, origin->labels.items[i].value);
    }
}

/* ---- the run --------------------------------------------------------------------------------- */

bool qb_state_keeps_undo(const struct qb_batch *batch)
{
    for (size_t i = 0; i < batch->n_jobs; i++)
        if (batch->jobs[i].request.keep_undo)
            return true;
    return false;
}

bool qb_state_must_record_some(const struct qb_batch *batch)
{
    for (size_t i = 0; i < batch->n_jobs; i++)
        if (qb_state_must_record(&batch->jobs[i].request))
            return true;
    return false;
}

static void record_run(struct qb_state *s, const struct qb_batch *batch)
{
    struct qb_journal *j = &s->journal;
    char real[PATH_MAX];
    const char *manifest = batch->manifest_path;

    qb_journal_begin(j, "run");
    qb_journal_text(j, "run", s->id);
    qb_journal_text(j, "qbatch", QB_VERSION);
    qb_state_stamp(j, "started");
    qb_journal_number(j, "ages_from", batch->ages_from);
    if (manifest && strcmp(manifest, "-") != 0 && realpath(manifest, real))
        manifest = real;
    if (manifest) {
        qb_journal_text(j, "manifest", manifest);
        qb_journal_text(j, "manifest_print", batch->manifest_print);
    }
    if (batch->name)
        qb_journal_text(j, "name", batch->name);
    qb_state_origin(j, &batch->origin);
    if (batch->typed && getcwd(real, sizeof(real))) {
        qb_journal_text(j, "folder", real);
        qb_journal_text(j, "command", batch->typed);
    }
    qb_state_shard_record(j, batch->origin.shard);
    qb_run_roots_record(j, &batch->policy);
    qb_journal_number(j, "images", batch->n_jobs);
    qb_journal_true(j, "undo", s->undo);
    qb_journal_true(j, "backup", batch->policy.backup != QB_BACKUP_NONE);
    qb_journal_end(j);
}

/* The folder is locked, so that names sort by age. */
static int create(struct qb_state *s, const char *dir, struct qb_err *err)
{
    int lock = qb_state_dir_lock(dir), r;
    char path[QB_JOURNAL_PATH];
    struct qb_run_id id;

    r = qb_state_dir_next_id(dir, &id, err);
    if (r == 0) {
        memcpy(s->id, id.text, sizeof(s->id));
        qb_state_dir_journal(dir, s->id, path);
        r = qb_journal_create(path, &s->journal, err);
    }
    if (lock >= 0)
        close(lock);
    return r;
}

int qb_state_begin(struct qb_state *s, const char *dir, const struct qb_batch *batch,
                   struct qb_err *err)
{
    *s = (struct qb_state){.undo = qb_state_keeps_undo(batch),
                           .must_last = qb_state_must_record_some(batch),
                           .is_new = true,
                           .journal.file.fd = -1};
    if (create(s, dir, err) < 0)
        return -1;
    record_run(s, batch);
    if (s->must_last ? qb_journal_sync(&s->journal) : qb_journal_write(&s->journal))
        qb_fail_sys(err, s->journal.errnum, QB_NOWHERE, "cannot write the journal %.200s",
                    s->journal.file.path);
    else if (!s->must_last || qb_state_dir_sync(dir, err) == 0)
        return 0;
    unlink(s->journal.file.path);
    qb_journal_close(&s->journal);
    return -1;
}

void qb_state_drop(struct qb_state *s)
{
    if (s->is_new && s->journal.file.path)
        unlink(s->journal.file.path);
    qb_journal_close(&s->journal);
}

int qb_state_end(struct qb_state *s, const struct qb_batch *batch, const struct qb_summary *sum,
                 int code)
{
    struct qb_journal *j = &s->journal;
    int errnum;

    qb_journal_begin(j, "end");
    qb_state_stamp(j, "at");
    for (size_t i = 0; i < QB_STATUS_COUNT; i++)
        if (sum->by_status[i])
            qb_journal_number(j, qb_status_names[i], sum->by_status[i]);
    qb_journal_number(j, "left", s->left_elsewhere + batch->n_jobs - s->ended);
    qb_journal_number(j, "to_finish", s->open_elsewhere + batch->n_jobs - s->done);
    qb_journal_number(j, "exit_code", (uint64_t)code);
    qb_journal_true(j, "resumed", !s->is_new);
    qb_journal_true(j, "undo", s->undo);
    qb_journal_end(j);
    errnum = s->undo || s->must_last ? qb_journal_sync(j) : qb_journal_write(j);
    qb_journal_close(j);
    return errnum;
}

/* The amended image is not to be trusted, and the old one is still there. */
static bool has_way_back(const struct qb_result *r)
{
    return r->committed && r->err.code == QB_E_VERIFY && r->old_sector && r->new_sector;
}

void qb_state_passed_over(struct qb_state *s)
{
    s->ended++;
    s->done++;
}

void qb_state_count(struct qb_state *s, const struct qb_job *job, const struct qb_result *r)
{
    if (job->already || job->taken_back || job->skipped) {
        qb_state_passed_over(s);
        return;
    }
    s->ended += r->err.code != QB_E_CANCELLED;
    s->done += r->status == QB_STATUS_CHANGED || r->status == QB_STATUS_UNCHANGED ||
               r->err.code == QB_E_WHEN || r->err.code == QB_E_BY_HAND;
    s->undo |= has_way_back(r);
}

/* ---- images ---------------------------------------------------------------------------------- */

bool qb_state_must_record(const struct qb_request *rq)
{
    return rq->keep_undo || qb_sizing_adds(rq) || rq->size_is == QB_SIZE_AT_LEAST ||
           qb_state_must_record_first(rq);
}

bool qb_state_must_record_first(const struct qb_request *rq)
{
    return rq->set & QB_KEY_CONVERT;
}

static void begin_image(struct qb_journal *j, const char *is, const struct qb_batch *batch,
                        const struct qb_job *job)
{
    char name[PATH_MAX];

    qb_journal_begin(j, is);
    qb_journal_path(j, qb_job_name(batch, job, name));
    qb_journal_number(j, "asks", job->asks);
}

void qb_state_planned(struct qb_state *s, const struct qb_batch *batch, const struct qb_job *job,
                      const struct qb_amend *amend, unsigned step, bool always)
{
    struct qb_journal *j = &s->journal;
    struct qb_amend_facts facts = qb_amend_facts(amend);

    /* One sector that may as well be written twice: a fleet of these would feel a record more. */
    if (!qb_amend_appends(amend) && !facts.cuts_data && !always &&
        !qb_state_must_record(&job->request))
        return;
    begin_image(j, "planned", batch, job);
    if (step)
        qb_journal_number(j, "step", step);
    qb_journal_number(j, "length", facts.old_length);
    qb_journal_true(j, "appends", qb_amend_appends(amend));
    qb_journal_number(j, "virtual_size",
                      qb_amend_result((struct qb_amend *)amend)->after->virtual_size);
    qb_journal_true(j, "cuts_data", facts.cuts_data);
    if (job->size_added)
        qb_journal_number(j, "size_added", job->size_added);
    if (qb_state_must_record_first(&job->request))
        qb_journal_bytes(j, "header", facts.new_sector, QB_SECTOR);
    if (job->request.keep_undo) {
        qb_journal_bytes(j, "old_sector", facts.old_sector, QB_SECTOR);
        qb_journal_bytes(j, "new_sector", facts.new_sector, QB_SECTOR);
    }
    qb_journal_end(j);
}

static void record_digest(struct qb_journal *j, const char *key, struct qb_digest d)
{
    be64 words[2] = {be64_of(d.high), be64_of(d.low)};

    qb_journal_bytes(j, key, words, sizeof(words));
}

/* Numbers that are 0 are left out. */
static void record_place(struct qb_journal *j, const char *key, uint64_t at)
{
    if (at)
        qb_journal_number(j, key, at);
}

/* Pairs of first and end, and how many these are; an empty list is left out. */
static void record_ranges(struct qb_journal *j, const char *key, const char *count,
                          const struct qb_ranges *list)
{
    be64 *words = list->n ? malloc(2 * list->n * sizeof(*words)) : NULL;

    for (size_t i = 0; words && i < list->n; i++) {
        words[2 * i] = be64_of(list->items[i].first);
        words[2 * i + 1] = be64_of(list->items[i].end);
    }
    if (list->n) /* without the list, the count shows that it is missing */
        qb_journal_number(j, count, list->n);
    if (words)
        qb_journal_bytes(j, key, words, 2 * list->n * sizeof(*words));
    free(words);
}

void qb_state_appended(struct qb_state *s, const struct qb_batch *batch, const struct qb_job *job,
                       const struct qb_amend *amend)
{
    const struct qb_proof *p = qb_amend_proof(amend);
    struct qb_journal *j = &s->journal;

    if (!p)
        return;
    begin_image(j, "proof", batch, job);
    qb_journal_number(j, "dev", p->dev);
    qb_journal_number(j, "ino", p->ino);
    if (p->is_device)
        qb_journal_number(j, "is_device", 1);
    record_place(j, "base", p->base);
    record_place(j, "zero_base", p->zero_base);
    record_place(j, "end", p->end);
    record_place(j, "name_at", p->name_at);
    record_place(j, "name_len", p->name_len);
    record_place(j, "head_len", p->head_len);
    if (p->cuts_cluster)
        qb_journal_number(j, "last_entry", p->last_entry);
    record_place(j, "last_allocated", (uint32_t)p->last_bitmap);
    record_place(j, "last_zero", p->last_bitmap >> QB_SUBCLUSTERS);
    if (p->mended)
        qb_journal_number(j, "mended", 1);
    if (p->end)
        record_digest(j, "stretch", p->stretch);
    record_ranges(j, "written", "n_written", &p->written);
    record_ranges(j, "zeroed", "n_zeroed", &p->zeroed);
    if (p->name_len)
        record_digest(j, "name", p->name);
    if (p->head_len)
        record_digest(j, "head", p->head);
    qb_journal_end(j);
}

static void record_seen(struct qb_journal *j, const struct qb_seen *seen)
{
    qb_seen_put(j, seen);
    if (!qb_digest_is_empty(seen->as_found))
        record_digest(j, "as_found", seen->as_found);
}

static void record_way_back(struct qb_state *s, const struct qb_result *r)
{
    qb_journal_number(&s->journal, "length_before", r->file_size_before);
    qb_journal_bytes(&s->journal, "old_sector", r->old_sector, QB_SECTOR);
    qb_journal_bytes(&s->journal, "new_sector", r->new_sector, QB_SECTOR);
    qb_journal_true(&s->journal, "header_wrong", r->header_wrong);
}

void qb_state_over(struct qb_state *s, const struct qb_batch *batch, const struct qb_job *job,
                   const struct qb_result *r, const struct qb_seen *seen, unsigned step)
{
    struct qb_journal *j = &s->journal;

    qb_state_count(s, &(struct qb_job){.path = NULL}, r);
    begin_image(j, qb_status_names[r->status], batch, job);
    record_place(j, "step", step);
    qb_journal_true(j, "committed", r->committed && r->status != QB_STATUS_CHANGED);
    qb_journal_true(j, "uncertain", r->header_sent && !r->committed);
    qb_journal_true(j, "verified", r->verified);
    qb_journal_true(j, "backup", r->backed_up);
    if (has_way_back(r))
        record_way_back(s, r);
    record_seen(j, seen);
    if (r->tail_given_back)
        qb_journal_number(j, "tail_given_back", r->tail_given_back);
    if (r->err.code != QB_E_NONE) {
        qb_journal_text(j, "code", qb_code_name(r->err.code));
        qb_journal_text(j, "message", r->err.text);
    }
    qb_journal_end(j);
}
