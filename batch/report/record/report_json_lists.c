#include "record/report_json_lists.h"

#include "outcome/outcome.h"

void qb_json_snapshots(struct qb_json *o, const struct qb_result *r)
{
    qb_json_number(o, "snapshots_deleted", r->n_snapshots_deleted);
    if (!r->n_snapshots_listed)
        return;
    qb_json_open_list(o, "snapshots_deleted_first");
    for (unsigned i = 0; i < r->n_snapshots_listed; i++) {
        const struct qb_deleted_snapshot *s = &r->snapshots_deleted[i];

        qb_json_open_item(o);
        qb_json_text(o, "id", s->id);
        qb_json_text(o, "name", s->name);
        qb_json_number(o, "date_seconds", s->date);
        qb_json_number(o, "vm_state_bytes", s->vm_state_size);
        qb_json_close(o);
    }
    qb_json_close(o);
}

void qb_json_bitmaps(struct qb_json *o, const struct qb_result *r)
{
    qb_json_number(o, "bitmaps_changed", r->n_bitmaps_changed);
    if (!r->n_bitmaps_listed)
        return;
    qb_json_open_list(o, "bitmaps_changed_first");
    for (unsigned i = 0; i < r->n_bitmaps_listed; i++) {
        const struct qb_changed_bitmap *b = &r->bitmaps_changed[i];

        qb_json_open_item(o);
        qb_json_text(o, "name", b->name);
        if (b->from)
            qb_json_text(o, "from", b->from);
        for (unsigned k = 0; qb_bitmap_change_names[k]; k++)
            if (b->changes >> k & 1)
                qb_json_bool(o, qb_bitmap_change_names[k], true);
        qb_json_close(o);
    }
    qb_json_close(o);
}

void qb_json_freed(struct qb_json *leaks, const struct qb_result *r)
{
    if (!r->n_freed_listed)
        return;
    qb_json_open_list(leaks, "freed_first");
    for (unsigned i = 0; i < r->n_freed_listed; i++) {
        qb_json_open_item(leaks);
        qb_json_number(leaks, "offset", r->freed_first[i].offset);
        qb_json_number(leaks, "bytes", r->freed_first[i].bytes);
        qb_json_close(leaks);
    }
    qb_json_close(leaks);
}
