/* Writes what `qemu-img info --output=json` tells, under its names, so that what reads one reads
 * the other; `type`, `path`, `status`, `without_locks` and `error` are added. */
#include <string.h>

#include "base/own.h"
#include "text/info.h"
#include "record/report_json.h"
#include "util/json.h"

#define NSEC 1000000000u

const char *const qb_bitmap_flag_names[QB_BITMAP_FLAG_NAMES] = {"in-use", "auto"};

static struct qb_json begin(const char *path, const char *status, bool without_locks)
{
    struct qb_json o = qb_json_object();

    qb_json_text(&o, "type", "info");
    qb_json_path(&o, path);
    qb_json_text(&o, "status", status);
    qb_json_bool(&o, "without_locks", without_locks);
    return o;
}

/* A text of the image that may be empty, and need not end with a NUL. */
static void put_text(struct qb_json *o, const char *key, const char *text, size_t len)
{
    QB_AUTO(qb_buf) char *copy = strndup(text, len);

    if (copy)
        qb_json_string(o, key, copy);
    else
        o->whole = false;
}

static void put_snapshots(struct qb_json *o, const struct qb_snapshot_table *t)
{
    struct qb_json list = qb_json_list();

    qb_vec_each (s, &t->list) {
        struct qb_snapshot_label label = qb_snapshot_label(s);
        struct qb_json one = qb_json_object();

        put_text(&one, "id", label.id, s->id_len);
        put_text(&one, "name", label.name, s->name_len);
        qb_json_number(&one, "vm-state-size", s->vm_state_size);
        qb_json_number(&one, "date-sec", label.date_sec);
        qb_json_number(&one, "date-nsec", label.date_nsec);
        qb_json_number(&one, "vm-clock-sec", label.vm_clock_nsec / NSEC);
        qb_json_number(&one, "vm-clock-nsec", label.vm_clock_nsec % NSEC);
        if (label.has_icount)
            qb_json_number(&one, "icount", label.icount);
        qb_json_append(&list, one);
    }
    qb_json_child(o, "snapshots", list);
}

static void put_bitmaps(struct qb_json *o, const struct qb_bitmaps *bitmaps)
{
    struct qb_json list = qb_json_list();

    qb_vec_each (b, &bitmaps->list) {
        struct qb_json one = qb_json_object(), flags = qb_json_list();

        qb_json_string(&one, "name", b->name);
        qb_json_number(&one, "granularity", UINT64_C(1) << b->granularity_bits);
        for (unsigned i = 0; i < QB_BITMAP_FLAG_NAMES; i++)
            if (b->flags >> i & 1)
                qb_json_append_string(&flags, qb_bitmap_flag_names[i]);
        qb_json_child(&one, "flags", flags);
        qb_json_append(&list, one);
    }
    qb_json_child(o, "bitmaps", list);
}

static void put_version_3(struct qb_json *data, const struct qb_image_facts *facts)
{
    const struct qb_info *i = &facts->info;

    qb_json_bool(data, "lazy-refcounts", i->lazy_refcounts);
    qb_json_bool(data, "corrupt", i->corrupt);
    qb_json_bool(data, "extended-l2", i->extended_l2);
    if (facts->bitmaps.list.n)
        put_bitmaps(data, &facts->bitmaps);
    if (!i->external_data_file)
        return;
    if (i->data_file[0])
        qb_json_string(data, "data-file", i->data_file);
    qb_json_bool(data, "data-file-raw", i->data_file_raw);
}

static struct qb_json specific(const struct qb_image_facts *facts)
{
    struct qb_json o = qb_json_object(), data = qb_json_object(), encrypt;
    const struct qb_info *i = &facts->info;

    qb_json_text(&o, "type", "qcow2");
    qb_json_text(&data, "compat", i->version == 2 ? "0.10" : "1.1");
    qb_json_text(&data, "compression-type", i->compression_type);
    qb_json_number(&data, "refcount-bits", i->refcount_bits);
    if (i->version > 2)
        put_version_3(&data, facts);
    if (i->crypt_method) {
        encrypt = qb_json_object();
        qb_json_text(&encrypt, "format", qb_json_encryption(i));
        qb_json_child(&data, "encrypt", encrypt);
    }
    qb_json_child(&o, "data", data);
    return o;
}

static void put_backing(struct qb_json *o, const struct qb_image_facts *facts)
{
    qb_json_string(o, "backing-filename", facts->info.backing_file);
    qb_json_string(o, "full-backing-filename", facts->full_backing);
    if (facts->info.backing_fmt[0])
        qb_json_string(o, "backing-filename-format", facts->info.backing_fmt);
}

int qb_line_info(FILE *f, const char *path, const struct qb_image_facts *facts,
                 const struct qb_suited *suited, bool without_locks)
{
    struct qb_json o = begin(path, "read", without_locks);
    const struct qb_info *i = &facts->info;

    qb_json_null(&o, "error");
    qb_json_string(&o, "filename", path);
    qb_json_text(&o, "format", "qcow2");
    qb_json_number(&o, "virtual-size", facts->virtual_size);
    qb_json_number(&o, "actual-size", facts->actual_size);
    qb_json_number(&o, "cluster-size", i->cluster_size);
    qb_json_bool(&o, "dirty-flag", i->dirty);
    if (i->crypt_method)
        qb_json_bool(&o, "encrypted", true);
    if (facts->full_backing)
        put_backing(&o, facts);
    if (facts->img.snapshots.list.n)
        put_snapshots(&o, &facts->img.snapshots);
    qb_json_child(&o, "format-specific", specific(facts));
    if (suited)
        qb_profile_put(&o, suited);
    return qb_json_line(f, o);
}

int qb_line_info_failed(FILE *f, const char *path, const struct qb_failure *failure,
                        bool without_locks)
{
    struct qb_json o = begin(path, "failed", without_locks);

    qb_json_error(&o, NULL, NULL, failure);
    return qb_json_line(f, o);
}
