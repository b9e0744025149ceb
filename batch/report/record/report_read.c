#include "record/report_read.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/own.h"
#include "base/result.h"
#include "util/json_read.h"
#include "job/keys.h"
#include "outcome/outcome.h"
#include "record/orders_json.h"
#include "record/rollout_json.h"

/* ---- the parts of an image ------------------------------------------------------------------- */

static bool read_status(const struct qb_parsed *o, enum qb_status *out)
{
    const char *name = qb_json_get_text(o, "status");

    for (int i = 0; name && i < QB_STATUS_COUNT; i++)
        if (strcmp(name, qb_status_names[i]) == 0)
            return *out = (enum qb_status)i, true;
    return false;
}

/* A code that a later version has is an internal error to this one: it cannot say more of it. */
static enum qb_code code_of(const char *name)
{
    for (int i = QB_E_NONE + 1; name && i < QB_E_COUNT; i++)
        if (strcmp(name, qb_code_name((enum qb_code)i)) == 0)
            return (enum qb_code)i;
    return QB_E_INTERNAL;
}

static void read_error(const struct qb_parsed *o, struct qb_failure *err)
{
    struct qb_parsed e = qb_json_get_child(o, "error");

    *err = (struct qb_failure){.offset = QB_NOWHERE};
    if (!e.value)
        return;
    err->code = code_of(qb_json_get_text(&e, "code"));
    err->sys_errno = (int)qb_json_get_number(&e, "errno", 0);
    err->offset = qb_json_get_number(&e, "offset", QB_NOWHERE);
    err->text = qb_json_get_text(&e, "message");
    if (!err->text)
        err->text = "";
}

/* What qb_json_info of report_json.c writes of an amend key. */
static void read_shown(const struct qb_parsed *i, const struct qb_key_row *row,
                       struct qb_info *info)
{
    const char *name = row->shown.name ? row->shown.name : row->name;
    void *member = (char *)info + row->shown.field;
    const char *text;

    switch (row->shown.kind) {
    case QB_SHOWN_BOOL:
        *(bool *)member = qb_json_get_bool(i, name);
        break;
    case QB_SHOWN_NUMBER:
        *(unsigned *)member = (unsigned)qb_json_get_number(i, name, 0);
        break;
    case QB_SHOWN_BYTES:
        *(uint64_t *)member = qb_json_get_number(i, name, 0);
        break;
    case QB_SHOWN_TEXT:
        *(const char **)member = qb_json_get_text(i, name);
        break;
    case QB_SHOWN_COMPAT:
        text = qb_json_get_text(i, name);
        *(unsigned *)member = text && strcmp(text, "0.10") == 0 ? 2 : 3;
        break;
    case QB_SHOWN_NOT:
        break;
    }
}

/* What qb_report_changes looks at, and no more. */
static const struct qb_info *read_info(const struct qb_parsed *o, const char *key,
                                       struct qb_info *info)
{
    struct qb_parsed i = qb_json_get_child(o, key);

    if (!i.value)
        return NULL;
    *info = (struct qb_info){
        .cluster_size = qb_json_get_number(&i, "cluster_size_bytes", 0),
        .nb_bitmaps = (unsigned)qb_json_get_number(&i, "bitmaps", 0),
        .nb_snapshots = (unsigned)qb_json_get_number(&i, "snapshots", 0),
        .dirty = qb_json_get_bool(&i, "dirty"),
        .corrupt = qb_json_get_bool(&i, "corrupt"),
        .has_backing_file = qb_json_get_text(&i, "backing_file") != NULL,
    };
    qb_keys_each (row, QB_SECTION_amend)
        read_shown(&i, row, info);
    return info;
}

static void read_leaks(const struct qb_parsed *o, struct qb_leaks *l)
{
    struct qb_parsed leaks = qb_json_get_child(o, "leaks");

    l->valid = leaks.value != NULL;
    l->clusters = qb_json_get_number(&leaks, "clusters", 0);
    l->bytes = qb_json_get_number(&leaks, "bytes", 0);
    l->freed = qb_json_get_bool(&leaks, "freed");
}

static void read_io(const struct qb_parsed *o, struct qb_io_stats *s)
{
    struct qb_parsed io = qb_json_get_child(o, "io");

    s->read_bytes = qb_json_get_number(&io, "read_bytes", 0);
    s->write_bytes = qb_json_get_number(&io, "write_bytes", 0);
    s->zeroed_bytes = qb_json_get_number(&io, "zeroed_bytes", 0);
    s->read_ops = qb_json_get_number(&io, "read_ops", 0);
    s->write_ops = qb_json_get_number(&io, "write_ops", 0);
    s->barriers = qb_json_get_number(&io, "barriers", 0);
}

/* Whatever the line says, a picture can be drawn of it. */
static double seconds_of(const struct qb_parsed *o, const char *key)
{
    double seconds = qb_json_get_real(o, key);

    return seconds >= 0 && seconds < QB_TIMING_SECONDS ? seconds : 0;
}

static unsigned count_of(const struct qb_parsed *o, const char *key)
{
    uint64_t n = qb_json_get_number(o, key, 0);

    return n < QB_TIMING_NUMBERS ? (unsigned)n : 0;
}

/* A report from before there were spans has one: all that was done with the image. */
static void read_spans(const struct qb_parsed *o, struct qb_timing *t)
{
    struct qb_parsed spans = qb_json_get_child(o, "spans");

    if (!qb_json_has(o, "spans"))
        t->spans[QB_SPAN_WRITE] = (struct qb_span){t->started_seconds, t->seconds, t->worker};
    for (enum qb_span_kind i = 0; i < QB_SPAN_COUNT; i++) {
        struct qb_parsed span = qb_json_get_child(&spans, qb_span_names[i]);

        if (qb_json_has(&spans, qb_span_names[i]))
            t->spans[i] = (struct qb_span){seconds_of(&span, "started_seconds"),
                                           seconds_of(&span, "seconds"), count_of(&span, "worker")};
    }
}

static void read_times(const struct qb_parsed *o, struct qb_outcome *out)
{
    struct qb_parsed p = qb_json_get_child(o, "phases");

    out->result.open_seconds = seconds_of(&p, "open_seconds");
    out->result.read_seconds = seconds_of(&p, "read_seconds");
    out->result.plan_seconds = seconds_of(&p, "plan_seconds");
    out->result.write_seconds = seconds_of(&p, "write_seconds");
    out->result.verify_seconds = seconds_of(&p, "verify_seconds");
    out->timing.started_seconds = seconds_of(o, "started_seconds");
    out->timing.seconds = seconds_of(o, "seconds");
    out->timing.wait_seconds = seconds_of(o, "wait_seconds");
    out->timing.wave = count_of(o, "wave");
    out->timing.worker = count_of(o, "worker");
    read_spans(o, &out->timing);
}

static void read_space(const struct qb_parsed *o, struct qb_result *r)
{
    struct qb_parsed s = qb_json_get_child(o, "space");

    r->allocated_delta = qb_json_get_signed(&s, "allocated_delta_bytes");
    r->file_size_before = qb_json_get_number(&s, "file_size_before_bytes", 0);
    r->file_size_after = qb_json_get_number(&s, "file_size_after_bytes", 0);
    r->tail_given_back = qb_json_get_number(&s, "tail_given_back_bytes", 0);
    r->device_lacks = qb_json_get_number(&s, "device_lacks_bytes", 0);
}

/* "8:1" */
static void read_file(const struct qb_parsed *o, struct qb_read_line *out)
{
    const char *device = qb_json_get_text(o, "device");
    unsigned high, low;

    if (!device || sscanf(device, "%u:%u", &high, &low) != 2)
        return;
    out->dev = makedev(high, low);
    out->ino = (ino_t)qb_json_get_number(o, "inode", 0);
}

static const char *read_image(const struct qb_parsed *o, struct qb_read_line *out)
{
    struct qb_result *r = &out->outcome.result;
    struct qb_info before, after;

    if (!read_status(o, &r->status))
        return "its status is none that an image can have";
    out->path = qb_json_get_path(o);
    if (!out->path || !*out->path)
        return "it has no path";
    read_file(o, out);
    read_error(o, &r->err);
    r->before = read_info(o, "before", &before);
    r->after = read_info(o, "after", &after);
    qb_result_own(r);
    r->converted = qb_json_get_bool(o, "converted");
    r->repaired = qb_json_get_bool(o, "repaired");
    r->backing_unchecked = qb_json_get_bool(o, "backing_unchecked");
    r->n_snapshots_deleted = count_of(o, "snapshots_deleted");
    r->flags_corrected = qb_json_get_number(o, "flags_corrected", 0);
    r->mark_cleared = qb_json_get_bool(o, "mark_cleared");
    r->n_bitmaps_changed = count_of(o, "bitmaps_changed");
    r->refcounts_raised = qb_json_get_number(o, "refcounts_raised", 0);
    r->reclaimed_bytes = qb_json_get_number(o, "reclaimed_bytes", 0);
    r->moved_bytes = qb_json_get_number(o, "moved_bytes", 0);
    r->reclaim_errno = (int)qb_min(qb_json_get_number(o, "reclaim_errno", 0), 4095);
    r->data_file_unchecked = qb_json_get_bool(o, "data_file_unchecked");
    r->bitmaps_dropped = qb_json_get_bool(o, "bitmaps_dropped");
    r->without_locks = qb_json_get_bool(o, "without_locks");
    r->writers_unseen = qb_json_get_bool(o, "writers_unseen");
    r->other_names = (unsigned)qb_json_get_number(o, "other_names", 0);
    r->resumed = qb_json_get_bool(o, "resumed");
    r->image_end_offset = qb_json_get_number(o, "image_end_offset", 0);
    out->owner_need_not_read =
        qb_json_has(o, "owner_must_read") && !qb_json_get_bool(o, "owner_must_read");
    if (qb_json_has(o, "of")) {
        struct qb_parsed of = qb_json_get_child(o, "of");

        qb_run_read(&of, &out->of);
    }
    read_leaks(o, &r->leaks);
    read_io(o, &r->io);
    read_times(o, &out->outcome);
    out->outcome.step = count_of(o, "step");
    read_space(o, r);
    return NULL;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void read_part(void *arg, const struct qb_parsed *part)
{
    struct qb_read_line *out = arg;
    struct qb_read_part *read;

    if (!qb_vec_push(&out->parts, (struct qb_read_part){0}))
        return; /* it counts as one without its end */
    read = &out->parts.items[out->parts.n - 1];
    qb_run_read(part, &read->of);
    read->ended = qb_json_get_bool(part, "ended");
    read->rollout = qb_rollout_read(part);
    qb_orders_read(part, &read->orders);
}

static void read_summary(const struct qb_parsed *o, struct qb_read_line *out)
{
    out->kind = QB_READ_SUMMARY;
    qb_run_read(o, &out->of);
    out->is_total = qb_json_has(o, "parts");
    qb_json_each_object(o, "parts", read_part, out);
    out->seconds = seconds_of(o, "seconds");
    out->dry_run = qb_json_get_bool(o, "dry_run");
    out->rollout = qb_rollout_read(o);
    qb_orders_read(o, &out->orders);
}

const char *qb_image_read(const struct qb_parsed *o, struct qb_read_line *out)
{
    const char *wrong;

    *out = (struct qb_read_line){.kind = QB_READ_IMAGE};
    wrong = read_image(o, out);
    if (wrong)
        qb_line_free(out);
    return wrong;
}

const char *qb_line_read(const char *text, size_t len, struct qb_read_line *out)
{
    QB_AUTO(qb_json_drop) struct qb_parsed o = {0};
    const char *type, *wrong = NULL;

    *out = (struct qb_read_line){.kind = QB_READ_IMAGE};
    if (!qb_json_parse(text, len, &o))
        return "it is no JSON object";
    out->tagged = qb_json_has(&o, "type");
    type = qb_json_get_text(&o, "type");
    if (!out->tagged || (type && strcmp(type, "image") == 0))
        wrong = read_image(&o, out);
    else if (type && strcmp(type, "summary") == 0)
        read_summary(&o, out);
    else
        wrong = "it tells of neither an image nor a run";
    if (wrong)
        qb_line_free(out);
    return wrong;
}

void qb_line_free(struct qb_read_line *line)
{
    free(qb_take(&line->path));
    qb_outcome_clear(&line->outcome);
    free(qb_take(&line->rollout));
    qb_orders_free(&line->orders);
    qb_vec_each (part, &line->parts) {
        qb_read_run_free(&part->of);
        qb_orders_free(&part->orders);
        free(part->rollout);
    }
    qb_vec_free(&line->parts);
    qb_read_run_free(&line->of);
}
