#include "record/report_json.h"

#include <string.h>
#include <sys/sysmacros.h>

#include "base/own.h"
#include "job/keys.h"
#include "util/base64.h"
#include "record/telling.h"
#include "record/report_json_lists.h"
#include "util/json.h"
#include "qcow2/disk.h"
#include "util/text.h"

enum { LINE_ROOM = 4000 /* bytes: most lines are shorter */ };

/* ---- the parts of an image ------------------------------------------------------------------- */

static void number_unless(struct qb_json *o, const char *key, uint64_t n, uint64_t nothing)
{
    if (n == nothing)
        qb_json_null(o, key);
    else
        qb_json_number(o, key, n);
}

void qb_json_error(struct qb_json *o, const struct qb_batch *batch, const struct qb_job *job,
                   const struct qb_failure *err)
{
    if (err->code == QB_E_NONE) {
        qb_json_null(o, "error");
        return;
    }
    qb_json_open(o, "error");
    qb_json_text(o, "code", qb_code_name(err->code));
    qb_json_text(o, "message", err->text);
    number_unless(o, "errno", (uint64_t)err->sys_errno, 0);
    number_unless(o, "offset", err->offset, QB_NOWHERE);
    if (batch && batch->manifest_path && job) {
        qb_json_open(o, "manifest");
        qb_json_text(o, "path", batch->manifest_path);
        qb_json_number(o, "line", job->line);
        qb_json_close(o);
    } else {
        qb_json_null(o, "manifest");
    }
    qb_json_text(o, "hint", qb_code_hint(err->code));
    qb_json_bool(o, "retryable", qb_code_retryable(err->code));
    qb_json_close(o);
}

const char *qb_json_encryption(const struct qb_info *i)
{
    return i->crypt_method == 0 ? "" : i->crypt_method == 1 ? "aes" : "luks";
}

static void put_value(struct qb_json *o, const char *key, struct qb_value v)
{
    switch (v.kind) {
    case QB_VALUE_TEXT:
        qb_json_text(o, key, v.text);
        break;
    case QB_VALUE_NUMBER:
    case QB_VALUE_BYTES:
        qb_json_number(o, key, v.number);
        break;
    case QB_VALUE_BOOL:
        qb_json_bool(o, key, v.number != 0);
        break;
    default:
        qb_json_null(o, key);
    }
}

void qb_json_info(struct qb_json *o, const char *key, const struct qb_info *i)
{
    if (!i) {
        qb_json_null(o, key);
        return;
    }
    qb_json_open(o, key);
    qb_keys_each (row, QB_SECTION_amend)
        if (row->shown.kind != QB_SHOWN_NOT)
            put_value(o, row->shown.name ? row->shown.name : row->name, qb_shown(row, i));
    qb_json_number(o, "cluster_size_bytes", i->cluster_size);
    qb_json_bool(o, "dirty", i->dirty);
    qb_json_bool(o, "corrupt", i->corrupt);
    qb_json_text(o, "encryption", qb_json_encryption(i));
    qb_json_number(o, "bitmaps", i->nb_bitmaps);
    qb_json_bool(o, "external_data_file", i->external_data_file);
    qb_json_close(o);
}

static void put_changes(struct qb_json *o, const struct qb_result *r)
{
    struct qb_change changes[QB_CHANGES_MAX];
    size_t n = qb_report_changes(r, changes);

    qb_json_open_list(o, "changes");
    for (size_t i = 0; i < n; i++) {
        qb_json_open_item(o);
        qb_json_text(o, "key", changes[i].key);
        put_value(o, "from", changes[i].from);
        put_value(o, "to", changes[i].to);
        qb_json_close(o);
    }
    qb_json_close(o);
}

static void put_notes(struct qb_json *o, const struct qb_result *r)
{
    qb_json_bool(o, "converted", r->converted);
    qb_json_bool(o, "repaired", r->repaired);
    qb_json_number(o, "refcounts_raised", r->refcounts_raised);
    qb_json_number(o, "flags_corrected", r->flags_corrected);
    qb_json_bool(o, "mark_cleared", r->mark_cleared);
    qb_json_number(o, "reclaimed_bytes", r->reclaimed_bytes);
    qb_json_number(o, "moved_bytes", r->moved_bytes);
    qb_json_number(o, "reclaim_errno", (uint64_t)r->reclaim_errno);
    qb_json_bool(o, "backing_unchecked", r->backing_unchecked);
    qb_json_bool(o, "data_file_unchecked", r->data_file_unchecked);
    qb_json_bool(o, "bitmaps_dropped", r->bitmaps_dropped);
    qb_json_bool(o, "without_locks", r->without_locks);
    qb_json_bool(o, "writers_unseen", r->writers_unseen);
    qb_json_number(o, "other_names", r->other_names);
    qb_json_bool(o, "resumed", r->resumed);
}

static void put_backup(struct qb_json *o, const struct qb_batch *batch, const struct qb_job *job,
                       const struct qb_result *r)
{
    QB_AUTO(qb_buf) char *path = r->backed_up ? qb_backup_path(batch, job) : NULL;

    qb_json_text(o, "backup", path);
}

void qb_json_clusters(struct qb_json *o, const struct qb_clusters *c)
{
    if (!c->valid) {
        qb_json_null(o, "clusters");
        return;
    }
    qb_json_open(o, "clusters");
    qb_json_number(o, "total", c->total);
    qb_json_number(o, "allocated", c->allocated);
    qb_json_number(o, "zero_plain", c->zero_plain);
    qb_json_number(o, "zero_allocated", c->zero_allocated);
    qb_json_number(o, "compressed", c->compressed);
    qb_json_number(o, "expanded", c->expanded);
    qb_json_number(o, "deallocated", c->deallocated);
    qb_json_number(o, "copied", c->copied);
    qb_json_close(o);
}

static void put_leaks(struct qb_json *o, const struct qb_result *r)
{
    const struct qb_leaks *l = &r->leaks;

    if (!l->valid) {
        qb_json_null(o, "leaks");
        return;
    }
    qb_json_open(o, "leaks");
    qb_json_number(o, "clusters", l->clusters);
    qb_json_number(o, "bytes", l->bytes);
    qb_json_bool(o, "freed", l->freed);
    qb_json_freed(o, r);
    qb_json_close(o);
}

void qb_line_io(struct qb_json *o, const struct qb_io_stats *s)
{
    qb_json_open(o, "io");
    qb_json_number(o, "read_bytes", s->read_bytes);
    qb_json_number(o, "write_bytes", s->write_bytes);
    qb_json_number(o, "zeroed_bytes", s->zeroed_bytes);
    qb_json_number(o, "read_ops", s->read_ops);
    qb_json_number(o, "write_ops", s->write_ops);
    qb_json_number(o, "barriers", s->barriers);
    qb_json_close(o);
}

static void put_phases(struct qb_json *o, const struct qb_result *r)
{
    qb_json_open(o, "phases");
    qb_json_real(o, "open_seconds", r->open_seconds);
    qb_json_real(o, "read_seconds", r->read_seconds);
    qb_json_real(o, "plan_seconds", r->plan_seconds);
    qb_json_real(o, "write_seconds", r->write_seconds);
    qb_json_real(o, "verify_seconds", r->verify_seconds);
    qb_json_close(o);
}

static void real_or_null(struct qb_json *o, const char *key, double d, bool known)
{
    if (known)
        qb_json_real(o, key, d);
    else
        qb_json_null(o, key);
}

static void put_spans(struct qb_json *o, const struct qb_timing *t)
{
    qb_json_open(o, "spans");
    for (enum qb_span_kind i = 0; i < QB_SPAN_COUNT; i++) {
        if (t->spans[i].seconds <= 0)
            continue;
        qb_json_open(o, qb_span_names[i]);
        qb_json_real(o, "started_seconds", t->spans[i].started_seconds);
        qb_json_real(o, "seconds", t->spans[i].seconds);
        if (!qb_span_is_barrier(i))
            qb_json_number(o, "worker", t->spans[i].worker);
        qb_json_close(o);
    }
    qb_json_close(o);
}

/* An image that no wave took was never started. */
static void put_timing(struct qb_json *o, const struct qb_timing *t)
{
    bool ran = t->wave != 0;

    real_or_null(o, "started_seconds", t->started_seconds, ran);
    real_or_null(o, "seconds", t->seconds, ran);
    real_or_null(o, "wait_seconds", t->wait_seconds, ran);
    number_unless(o, "wave", t->wave, 0);
    number_unless(o, "worker", ran ? t->worker : UINT64_MAX, UINT64_MAX);
    put_spans(o, t);
}

static void put_space(struct qb_json *o, const struct qb_result *r)
{
    qb_json_open(o, "space");
    qb_json_signed(o, "allocated_delta_bytes", r->allocated_delta);
    qb_json_number(o, "file_size_before_bytes", r->file_size_before);
    qb_json_number(o, "file_size_after_bytes", r->file_size_after);
    qb_json_number(o, "tail_given_back_bytes", r->tail_given_back);
    qb_json_number(o, "device_lacks_bytes", r->device_lacks);
    qb_json_close(o);
}

static void put_sector(struct qb_json *o, const char *key, const uint8_t sector[QB_SECTOR])
{
    char text[(QB_SECTOR + 2) / 3 * 4 + 1] = "";

    qb_base64_write(sector, QB_SECTOR, text);
    qb_json_text(o, key, text);
}

/* With a mismatch, also what it takes to go back: the old image is still there, and its first
 * sector alone is missing. */
static void put_verify(struct qb_json *o, enum qb_verify mode, const struct qb_result *r)
{
    static const char *const modes[] = {[QB_VERIFY_NONE] = "none",
                                        [QB_VERIFY_METADATA] = "metadata",
                                        [QB_VERIFY_CONTENT] = "content"};

    qb_json_open(o, "verify");
    qb_json_text(o, "mode", modes[mode]);
    qb_json_text(o, "result",
                 r->verified                   ? "ok"
                 : r->err.code == QB_E_VERIFY  ? "mismatch"
                 : r->committed && r->err.code ? "failed" /* it could not be looked at */
                                               : "not_run");
    if (r->verified || r->err.code == QB_E_VERIFY)
        qb_json_text(o, "source", r->header_from_disk ? "disk" : "cache");
    if (r->committed && r->err.code == QB_E_VERIFY && r->old_sector && r->new_sector) {
        put_sector(o, "old_sector_base64", r->old_sector);
        put_sector(o, "new_sector_base64", r->new_sector);
    }
    qb_json_close(o);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* By which programs recognise a file that has two names. */
static void put_file(struct qb_json *o, const struct qb_job *job)
{
    char device[2 * QB_JSON_NUMBER], *at;

    if (!job->ino) {
        qb_json_null(o, "device");
        qb_json_null(o, "inode");
        return;
    }
    at = qb_json_digits(device, major(job->dev));
    *at++ = ':';
    *qb_json_digits(at, minor(job->dev)) = '\0';
    qb_json_string(o, "device", device);
    qb_json_number(o, "inode", job->ino);
}

struct qb_json qb_json_image(const struct qb_batch *batch, const struct qb_job *job,
                             const struct qb_outcome *outcome, const char *of, bool tagged)
{
    const struct qb_result *r = &outcome->result;
    struct qb_json o = qb_json_object_of(LINE_ROOM);

    if (tagged)
        qb_json_text(&o, "type", "image");
    qb_json_path(&o, job->path);
    qb_json_text(&o, "status", qb_status_names[r->status]);
    qb_json_error(&o, batch, job, &r->err);
    qb_json_info(&o, "before", r->before);
    qb_json_info(&o, "after", r->after);
    put_changes(&o, r);
    put_notes(&o, r);
    qb_json_snapshots(&o, r);
    qb_json_bitmaps(&o, r);
    put_backup(&o, batch, job, r);
    qb_json_clusters(&o, &r->clusters);
    put_leaks(&o, r);
    number_unless(&o, "image_end_offset", r->image_end_offset, 0);
    qb_line_io(&o, &r->io);
    put_phases(&o, r);
    put_timing(&o, &outcome->timing);
    if (outcome->step)
        qb_json_number(&o, "step", outcome->step);
    put_space(&o, r);
    put_verify(&o, QB_MAX(job->request.verify, outcome->verify), r);
    put_file(&o, job);
    qb_json_bool(&o, "owner_must_read", !batch->policy.owner_need_not_read);
    qb_json_of(&o, batch, of);
    return o;
}

int qb_line_image(FILE *f, const struct qb_batch *batch, const struct qb_job *job,
                  const struct qb_outcome *outcome, bool tagged)
{
    return qb_json_line(f, qb_json_image(batch, job, outcome, NULL, tagged));
}
