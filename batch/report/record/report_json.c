#include "record/report_json.h"

#include "base/own.h"
#include "job/keys.h"
#include "util/base64.h"
#include "record/telling.h"
#include "record/report_json_lists.h"
#include "util/json.h"
#include "qcow2/disk.h"
#include "util/text.h"

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
    struct qb_json e;

    if (err->code == QB_E_NONE) {
        qb_json_null(o, "error");
        return;
    }
    e = qb_json_object();
    qb_json_text(&e, "code", qb_code_name(err->code));
    qb_json_text(&e, "message", err->text);
    number_unless(&e, "errno", (uint64_t)err->sys_errno, 0);
    number_unless(&e, "offset", err->offset, QB_NOWHERE);
    if (batch && batch->manifest_path && job) {
        struct qb_json m = qb_json_object();

        qb_json_text(&m, "path", batch->manifest_path);
        qb_json_number(&m, "line", job->line);
        qb_json_child(&e, "manifest", m);
    } else {
        qb_json_null(&e, "manifest");
    }
    qb_json_text(&e, "hint", qb_code_hint(err->code));
    qb_json_bool(&e, "retryable", qb_code_retryable(err->code));
    qb_json_child(o, "error", e);
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
    struct qb_json info;

    if (!i) {
        qb_json_null(o, key);
        return;
    }
    info = qb_json_object();
    qb_keys_each (row, QB_SECTION_amend)
        if (row->shown.kind != QB_SHOWN_NOT)
            put_value(&info, row->shown.name ? row->shown.name : row->name, qb_shown(row, i));
    qb_json_number(&info, "cluster_size_bytes", i->cluster_size);
    qb_json_bool(&info, "dirty", i->dirty);
    qb_json_bool(&info, "corrupt", i->corrupt);
    qb_json_text(&info, "encryption", qb_json_encryption(i));
    qb_json_number(&info, "bitmaps", i->nb_bitmaps);
    qb_json_bool(&info, "external_data_file", i->external_data_file);
    qb_json_child(o, key, info);
}

static void put_changes(struct qb_json *o, const struct qb_result *r)
{
    struct qb_change changes[QB_CHANGES_MAX];
    size_t n = qb_report_changes(r, changes);
    struct qb_json list = qb_json_list();

    for (size_t i = 0; i < n; i++) {
        struct qb_json c = qb_json_object();

        qb_json_text(&c, "key", changes[i].key);
        put_value(&c, "from", changes[i].from);
        put_value(&c, "to", changes[i].to);
        qb_json_append(&list, c);
    }
    qb_json_child(o, "changes", list);
}

static void put_notes(struct qb_json *o, const struct qb_result *r)
{
    qb_json_bool(o, "converted", r->converted);
    qb_json_bool(o, "repaired", r->repaired);
    qb_json_number(o, "refcounts_raised", r->refcounts_raised);
    qb_json_number(o, "flags_corrected", r->flags_corrected);
    qb_json_bool(o, "mark_cleared", r->mark_cleared);
    qb_json_number(o, "reclaimed_bytes", r->reclaimed_bytes);
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
    struct qb_json clusters;

    if (!c->valid) {
        qb_json_null(o, "clusters");
        return;
    }
    clusters = qb_json_object();
    qb_json_number(&clusters, "total", c->total);
    qb_json_number(&clusters, "allocated", c->allocated);
    qb_json_number(&clusters, "zero_plain", c->zero_plain);
    qb_json_number(&clusters, "zero_allocated", c->zero_allocated);
    qb_json_number(&clusters, "compressed", c->compressed);
    qb_json_number(&clusters, "expanded", c->expanded);
    qb_json_number(&clusters, "deallocated", c->deallocated);
    qb_json_number(&clusters, "copied", c->copied);
    qb_json_child(o, "clusters", clusters);
}

static void put_leaks(struct qb_json *o, const struct qb_result *r)
{
    const struct qb_leaks *l = &r->leaks;
    struct qb_json leaks;

    if (!l->valid) {
        qb_json_null(o, "leaks");
        return;
    }
    leaks = qb_json_object();
    qb_json_number(&leaks, "clusters", l->clusters);
    qb_json_number(&leaks, "bytes", l->bytes);
    qb_json_bool(&leaks, "freed", l->freed);
    qb_json_freed(&leaks, r);
    qb_json_child(o, "leaks", leaks);
}

void qb_line_io(struct qb_json *o, const struct qb_io_stats *s)
{
    struct qb_json io = qb_json_object();

    qb_json_number(&io, "read_bytes", s->read_bytes);
    qb_json_number(&io, "write_bytes", s->write_bytes);
    qb_json_number(&io, "zeroed_bytes", s->zeroed_bytes);
    qb_json_number(&io, "read_ops", s->read_ops);
    qb_json_number(&io, "write_ops", s->write_ops);
    qb_json_number(&io, "barriers", s->barriers);
    qb_json_child(o, "io", io);
}

static void put_phases(struct qb_json *o, const struct qb_result *r)
{
    struct qb_json p = qb_json_object();

    qb_json_real(&p, "open_seconds", r->open_seconds);
    qb_json_real(&p, "read_seconds", r->read_seconds);
    qb_json_real(&p, "plan_seconds", r->plan_seconds);
    qb_json_real(&p, "write_seconds", r->write_seconds);
    qb_json_real(&p, "verify_seconds", r->verify_seconds);
    qb_json_child(o, "phases", p);
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
    struct qb_json spans = qb_json_object();

    for (enum qb_span_kind i = 0; i < QB_SPAN_COUNT; i++) {
        struct qb_json span;

        if (t->spans[i].seconds <= 0)
            continue;
        span = qb_json_object();
        qb_json_real(&span, "started_seconds", t->spans[i].started_seconds);
        qb_json_real(&span, "seconds", t->spans[i].seconds);
        if (!qb_span_is_barrier(i))
            qb_json_number(&span, "worker", t->spans[i].worker);
        qb_json_child(&spans, qb_span_names[i], span);
    }
    qb_json_child(o, "spans", spans);
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
    struct qb_json s = qb_json_object();

    qb_json_signed(&s, "allocated_delta_bytes", r->allocated_delta);
    qb_json_number(&s, "file_size_before_bytes", r->file_size_before);
    qb_json_number(&s, "file_size_after_bytes", r->file_size_after);
    qb_json_number(&s, "tail_given_back_bytes", r->tail_given_back);
    qb_json_number(&s, "device_lacks_bytes", r->device_lacks);
    qb_json_child(o, "space", s);
}

static void put_sector(struct qb_json *o, const char *key, const uint8_t sector[QB_SECTOR])
{
    char text[(QB_SECTOR + 2) / 3 * 4 + 1] = "";

    qb_base64_write(sector, QB_SECTOR, text);
    qb_json_text(o, key, text);
}

/* With a mismatch, also what it takes to go back: the old image is still there, and its first
 * sector alone is missing. */
static void put_verify(struct qb_json *o, const struct qb_request *rq, const struct qb_result *r)
{
    static const char *const modes[] = {[QB_VERIFY_NONE] = "none",
                                        [QB_VERIFY_METADATA] = "metadata",
                                        [QB_VERIFY_CONTENT] = "content"};
    struct qb_json v = qb_json_object();

    qb_json_text(&v, "mode", modes[rq->verify]);
    qb_json_text(&v, "result",
                 r->verified                   ? "ok"
                 : r->err.code == QB_E_VERIFY  ? "mismatch"
                 : r->committed && r->err.code ? "failed" /* it could not be looked at */
                                               : "not_run");
    if (r->verified || r->err.code == QB_E_VERIFY)
        qb_json_text(&v, "source", r->header_from_disk ? "disk" : "cache");
    if (r->committed && r->err.code == QB_E_VERIFY && r->old_sector && r->new_sector) {
        put_sector(&v, "old_sector_base64", r->old_sector);
        put_sector(&v, "new_sector_base64", r->new_sector);
    }
    qb_json_child(o, "verify", v);
}

static struct qb_json of_batch(const struct qb_batch *batch)
{
    const struct qb_part run = {.name = batch->name,
                                .manifest = batch->manifest_path,
                                .run = batch->run_id,
                                .origin = &batch->origin};

    return qb_line_of(&run);
}

/* ---- lines ----------------------------------------------------------------------------------- */

int qb_line_image(FILE *f, const struct qb_batch *batch, const struct qb_job *job,
                  const struct qb_outcome *outcome, bool tagged)
{
    const struct qb_result *r = &outcome->result;
    struct qb_json o = qb_json_object();

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
    put_space(&o, r);
    put_verify(&o, &job->request, r);
    qb_json_bool(&o, "owner_must_read", !batch->policy.owner_need_not_read);
    if (batch->origin.started > 0)
        qb_json_child(&o, "of", of_batch(batch));
    return qb_json_line(f, o);
}
