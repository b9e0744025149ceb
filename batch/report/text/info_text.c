/* Prints what `qemu-img info` tells for people: for one image in its lines, for many as a table. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "text/info.h"
#include "record/report_json.h"
#include "util/text.h"

enum {
    TAG_WIDTH = 17, /* columns of a snapshot's name */
    ID_WIDTH = 10,
    BACKING_WIDTH = 20,
};

static const char *compat_of(const struct qb_info *i)
{
    return i->version == 2 ? "0.10" : "1.1";
}

/* ---- one image ------------------------------------------------------------------------------- */

static void print_named(FILE *f, const char *what, const char *text)
{
    fprintf(f, "%s: ", what);
    qb_text_safe(f, text);
    fputc('\n', f);
}

static void print_bool(FILE *f, const char *what, bool is)
{
    fprintf(f, "    %s: %s\n", what, is ? "true" : "false");
}

static void pad(FILE *f, size_t used, size_t width)
{
    fprintf(f, "%*s", used < width ? (int)(width - used) : 0, "");
}

static void print_cell(FILE *f, const char *text, size_t len, size_t width)
{
    char *copy = strndup(text, len);

    qb_text_safe(f, copy ? copy : "?");
    pad(f, copy ? qb_text_columns(copy) : 1, width);
    free(copy);
}

static void print_snapshot(FILE *f, const struct qb_snapshot *s)
{
    struct qb_snapshot_label label = qb_snapshot_label(s);
    uint64_t ms = label.vm_clock_nsec / 1000000, minutes = ms / 60000;
    char size[QB_TEXT_NUMBER], date[QB_TEXT_NUMBER] = "";
    time_t made = (time_t)label.date_sec;
    struct tm tm;

    if (localtime_r(&made, &tm))
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    print_cell(f, label.id, s->id_len, ID_WIDTH);
    print_cell(f, label.name, s->name_len, TAG_WIDTH);
    fprintf(f, "%8s%20s %02llu:%02llu:%02llu.%03llu", qb_text_size(s->vm_state_size, size), date,
            (unsigned long long)(minutes / 60), (unsigned long long)(minutes % 60),
            (unsigned long long)(ms / 1000 % 60), (unsigned long long)(ms % 1000));
    if (label.has_icount)
        fprintf(f, "%11llu", (unsigned long long)label.icount);
    fputc('\n', f);
}

static void print_snapshots(FILE *f, const struct qb_snapshot_table *t)
{
    fprintf(f, "Snapshot list:\n%-*s%-*s%8s%20s%13s%11s\n", ID_WIDTH, "ID", TAG_WIDTH, "TAG",
            "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
    qb_vec_each (s, &t->list)
        print_snapshot(f, s);
}

static void print_bitmaps(FILE *f, const struct qb_bitmaps *bitmaps)
{
    size_t n = 0;

    fputs("    bitmaps:\n", f);
    qb_vec_each (b, &bitmaps->list) {
        fprintf(f, "        [%zu]:\n            flags:\n", n++);
        for (unsigned i = 0, k = 0; i < QB_BITMAP_FLAG_NAMES; i++)
            if (b->flags >> i & 1)
                fprintf(f, "                [%u]: %s\n", k++, qb_bitmap_flag_names[i]);
        print_named(f, "            name", b->name);
        fprintf(f, "            granularity: %llu\n",
                (unsigned long long)(UINT64_C(1) << b->granularity_bits));
    }
}

static void print_specific(FILE *f, const struct qb_image_facts *facts)
{
    const struct qb_info *i = &facts->info;

    fprintf(f, "Format specific information:\n    compat: %s\n    compression type: %s\n",
            compat_of(i), i->compression_type);
    if (i->version > 2)
        print_bool(f, "lazy refcounts", i->lazy_refcounts);
    if (facts->bitmaps.list.n)
        print_bitmaps(f, &facts->bitmaps);
    fprintf(f, "    refcount bits: %u\n", i->refcount_bits);
    if (i->external_data_file && i->data_file[0])
        print_named(f, "    data file", i->data_file);
    if (i->external_data_file)
        print_bool(f, "data file raw", i->data_file_raw);
    if (i->crypt_method)
        fprintf(f, "    encrypt:\n        format: %s\n", qb_json_encryption(i));
    if (i->version > 2) {
        print_bool(f, "corrupt", i->corrupt);
        print_bool(f, "extended l2", i->extended_l2);
    }
}

static void print_backing(FILE *f, const struct qb_image_facts *facts)
{
    const char *name = facts->info.backing_file;

    fputs("backing file: ", f);
    qb_text_safe(f, name);
    if (strcmp(name, facts->full_backing) != 0) {
        fputs(" (actual path: ", f);
        qb_text_safe(f, facts->full_backing);
        fputc(')', f);
    }
    fputc('\n', f);
    if (facts->info.backing_fmt[0])
        print_named(f, "backing file format", facts->info.backing_fmt);
}

void qb_info_print(FILE *f, const char *path, const struct qb_image_facts *facts)
{
    const struct qb_info *i = &facts->info;
    char size[QB_TEXT_NUMBER];

    print_named(f, "image", path);
    fprintf(f, "file format: qcow2\nvirtual size: %s (%llu bytes)\n",
            qb_text_size(facts->virtual_size, size), (unsigned long long)facts->virtual_size);
    fprintf(f, "disk size: %s\n", qb_text_size(facts->actual_size, size));
    if (i->crypt_method)
        fputs("encrypted: yes\n", f);
    fprintf(f, "cluster_size: %llu\n", (unsigned long long)i->cluster_size);
    if (i->dirty)
        fputs("cleanly shut down: no\n", f);
    if (facts->full_backing)
        print_backing(f, facts);
    if (facts->img.snapshots.list.n)
        print_snapshots(f, &facts->img.snapshots);
    print_specific(f, facts);
}

/* ---- many images ----------------------------------------------------------------------------- */

static void print_count(FILE *f, const char **before, size_t n, const char *what)
{
    if (!n)
        return;
    fprintf(f, "%s%zu %s%s", *before, n, what, n == 1 ? "" : "s");
    *before = ", ";
}

static void print_flag(FILE *f, const char **before, bool is, const char *what)
{
    if (!is)
        return;
    fprintf(f, "%s%s", *before, what);
    *before = ", ";
}

/* What is not as in most images, the worst first. */
static void print_flags(FILE *f, const struct qb_image_facts *facts, const char *before)
{
    const struct qb_info *i = &facts->info;

    print_flag(f, &before, i->corrupt, "corrupt");
    print_flag(f, &before, i->dirty, "dirty");
    print_flag(f, &before, i->crypt_method, "encrypted");
    print_flag(f, &before, i->external_data_file, "data file");
    print_count(f, &before, facts->img.snapshots.list.n, "snapshot");
    print_count(f, &before, facts->bitmaps.list.n, "bitmap");
    print_flag(f, &before, i->extended_l2, "extended L2");
    print_flag(f, &before, i->zstd, "zstd");
    print_flag(f, &before, i->lazy_refcounts, "lazy refcounts");
    if (i->refcount_bits != 16)
        fprintf(f, "%srefcounts of %u bits", before, i->refcount_bits);
}

/* What fills the column of backing files, and the two columns after it: printed before the first
 * flag, so that rows without one do not end in spaces. */
static const char *gap_after(const char *backing)
{
    static const char spaces[] = "                      ";
    size_t used = qb_text_columns(backing);

    _Static_assert(sizeof(spaces) == BACKING_WIDTH + 2 + 1, "the width of the column, and 2");
    return spaces + QB_MIN(used, BACKING_WIDTH);
}

void qb_info_head(FILE *f, int width)
{
    fprintf(f, "%-*s  %-6s  %12s  %9s  %8s  %-*s  %s\n", width, "image", "compat", "virtual size",
            "disk size", "cluster", BACKING_WIDTH, "backing file", "flags");
}

void qb_info_row(FILE *f, int width, const char *path, const struct qb_image_facts *facts)
{
    const struct qb_info *i = &facts->info;
    char virtual[QB_TEXT_NUMBER], disk[QB_TEXT_NUMBER], cluster[QB_TEXT_NUMBER];
    const char *backing = i->backing_file[0] ? i->backing_file : "-";

    print_cell(f, path, strlen(path), (size_t)width);
    fprintf(f, "  %-6s  %12s  %9s  %8s  ", compat_of(i), qb_text_size(facts->virtual_size, virtual),
            qb_text_size(facts->actual_size, disk), qb_text_size(i->cluster_size, cluster));
    qb_text_safe(f, backing);
    print_flags(f, facts, gap_after(backing));
    fputc('\n', f);
}
