#include "record/report_json_lists.h"

#include "job/outcome.h"

void qb_json_snapshots(struct qb_json *o, const struct qb_result *r)
{
    struct qb_json list;

    qb_json_number(o, "snapshots_deleted", r->n_snapshots_deleted);
    if (!r->n_snapshots_listed)
        return;
    list = qb_json_list();
    for (unsigned i = 0; i < r->n_snapshots_listed; i++) {
        const struct qb_deleted_snapshot *s = &r->snapshots_deleted[i];
        struct qb_json one = qb_json_object();

        qb_json_text(&one, "id", s->id);
        qb_json_text(&one, "name", s->name);
        qb_json_number(&one, "date_seconds", s->date);
        qb_json_number(&one, "vm_state_bytes", s->vm_state_size);
        qb_json_append(&list, one);
    }
    qb_json_child(o, "snapshots_deleted_first", list);
}

void qb_json_bitmaps(struct qb_json *o, const struct qb_result *r)
{
    struct qb_json list;

    qb_json_number(o, "bitmaps_changed", r->n_bitmaps_changed);
    if (!r->n_bitmaps_listed)
        return;
    list = qb_json_list();
    for (unsigned i = 0; i < r->n_bitmaps_listed; i++) {
        const struct qb_changed_bitmap *b = &r->bitmaps_changed[i];
        struct qb_json one = qb_json_object();

        qb_json_text(&one, "name", b->name);
        if (b->from)
            qb_json_text(&one, "from", b->from);
        for (unsigned k = 0; qb_bitmap_change_names[k]; k++)
            if (b->changes >> k & 1)
                qb_json_bool(&one, qb_bitmap_change_names[k], true);
        qb_json_append(&list, one);
    }
    qb_json_child(o, "bitmaps_changed_first", list);
}

void qb_json_freed(struct qb_json *leaks, const struct qb_result *r)
{
    struct qb_json list;

    if (!r->n_freed_listed)
        return;
    list = qb_json_list();
    for (unsigned i = 0; i < r->n_freed_listed; i++) {
        struct qb_json one = qb_json_object();

        qb_json_number(&one, "offset", r->freed_first[i].offset);
        qb_json_number(&one, "bytes", r->freed_first[i].bytes);
        qb_json_append(&list, one);
    }
    qb_json_child(leaks, "freed_first", list);
}
