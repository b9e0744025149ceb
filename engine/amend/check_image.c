#include "amend/check_image.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "base/result.h"
#include "check/census.h"
#include "check/data_end.h"
#include "content/readable.h"
#include "check/signs.h"
#include "opener/in_use.h"
#include "opener/look.h"
#include "opener/named.h"
#include "plan/data_file.h"
#include "image/bitmap.h"
#include "chain/data_name.h"

/* A check's result, and what it points to. */
struct checked {
    struct qb_check_result result; /* first: the caller has a pointer to it */
    struct qb_result memory;       /* only `before` and `err` are used */
    struct qb_result data_memory;  /* only `err` is used */
};

/* One check in progress. */
struct checking {
    struct qb_io *io;
    const struct qb_check_wish *wish;
    struct qb_file file, data;
    struct qb_image img;
    struct qb_census census;
    struct qb_signs *signs; /* NULL: nobody is told */
    uint64_t corruptions;   /* that the census does not count */
    struct checked *out;
};

static void close_all(struct checking *k)
{
    qb_file_close(&k->data);
    qb_file_close(&k->file);
}

static void note(struct checking *k, enum qb_defect defect, uint64_t offset, const char *text)
{
    k->corruptions++;
    qb_defect_tell(k->wish->found, k->wish->found_arg, defect, offset, text);
}

/* The corrupt bit is a finding of its own: QEMU opens such an image read-only, whatever it
 * contains. */
static void note_mark(struct checking *k)
{
    if (k->img.header.incompatible & QB_INCOMPAT_CORRUPT)
        note(k, QB_DEFECT_MARKED_CORRUPT, offsetof(struct qb_disk_header, incompatible),
             "the image is marked corrupt");
}

/* A finding for each entry, as QEMU counts them. */
static void note_snapshots(struct checking *k)
{
    const struct qb_snapshot_table *t = &k->img.snapshots;

    if (k->img.header.version < 3)
        return;
    for (size_t i = 0; i < t->list.n; i++)
        if (!t->list.items[i].has_disk_size)
            note(k, QB_DEFECT_SNAPSHOT_WITHOUT_DISK_SIZE,
                 k->img.header.snapshots_offset + (uint64_t)(t->list.items[i].raw - t->bytes),
                 "an entry of the snapshot table has no disk size, which version 3 requires");
}

/* ---- the external data file ------------------------------------------------------------------ */

/* 1 when it is open; 0 when it is the image itself, which is noted; -1 when it cannot be opened. */
static int open_data(struct checking *k, struct qb_err *err)
{
    QB_AUTO(qb_buf) char *path = NULL;
    struct qb_err why = {.offset = QB_NOWHERE};
    struct stat st;

    if (qb_data_locate(k->file.opener, k->file.path, k->img.data_name, &path, err) < 0)
        return -1;
    if (qb_look(k->file.opener, path, &st) == 0 && st.st_dev == k->file.dev &&
        st.st_ino == k->file.ino) {
        note(k, QB_DEFECT_DATA_FILE_IS_IMAGE, QB_NOWHERE,
             "the external data file is the image itself");
        return 0;
    }
    if (qb_named_open_data(k->io, &k->file, path, &k->data, &why) < 0 ||
        (!k->wish->without_locks && qb_file_lock(&k->data, false, &why) < 0))
        return qb_data_blame(path, &why, err);
    return 1;
}

/* Where it cannot be opened, the answer still has the findings in the image's own metadata.  Of an
 * image that names none, QEMU is told the name at each start. */
static int check_data(struct checking *k, struct qb_err *err)
{
    struct qb_err why = {.offset = QB_NOWHERE};
    int open;

    if (!k->img.geom.external_data || !k->img.data_name[0])
        return 0;
    open = open_data(k, &why);
    if (open > 0 && qb_data_end_check(k->io, &k->census, k->data.size, err) < 0)
        return -1;
    if (open > 0 && k->wish->level == QB_CHECK_CONTENT)
        return qb_readable_check(k->io, &k->census, &k->data, err);
    if (open < 0)
        qb_result_fail(&k->out->data_memory, &why);
    return 0;
}

/* ---- the image ------------------------------------------------------------------------------- */

/* What the header and the snapshot table leave of the limit. */
static uint64_t memory_left(const struct checking *k)
{
    uint64_t limit = k->wish->memory_limit ? k->wish->memory_limit : QB_CENSUS_MEMORY;
    uint64_t held = qb_image_memory(&k->img) + (k->signs ? sizeof(*k->signs) : 0);

    return limit > held ? limit - held : 1;
}

static int take_census(struct checking *k, struct qb_err *err)
{
    qb_finding_fn *found = k->signs ? qb_signs_note : NULL;

    if (k->wish->level == QB_CHECK_REFCOUNTS || k->wish->level == QB_CHECK_CONTENT)
        return qb_census_take(k->io, &k->img, memory_left(k), found, k->signs, &k->census, err);
    if (k->wish->level == QB_CHECK_TABLES)
        return qb_census_tables(k->io, &k->img, memory_left(k), found, k->signs, &k->census, err);
    k->census = (struct qb_census){.img = &k->img, .found = found, .found_arg = k->signs};
    return 0;
}

/* What the findings have in common is told after them. */
static int prepare_signs(struct checking *k, struct qb_err *err)
{
    if (!k->wish->found)
        return 0;
    k->signs = malloc(sizeof(*k->signs));
    if (!k->signs)
        return qb_fail_memory(err);
    qb_signs_begin(k->signs, &k->img, k->wish->found, k->wish->found_arg);
    return 0;
}

/* QEMU opens no image with a bitmap that it does not like; a census, which all amends take, counts
 * only what bitmaps occupy.  Before it is taken, for it holds memory; *odd is what was found, to be
 * told after it. */
static int look_at_bitmaps(const struct checking *k, struct qb_err *odd, struct qb_err *err)
{
    struct qb_disk_bitmaps_ext ext;
    struct qb_bitmaps bitmaps;
    int r;

    *odd = k->img.odd_bitmaps;
    if (odd->code)
        return 0;
    odd->offset = QB_NOWHERE;
    if (k->wish->level == QB_CHECK_HEADER || !qb_image_has_bitmaps(&k->img, &ext))
        return 0;
    r = qb_bitmaps_read(k->io, &k->img, memory_left(k), &bitmaps, odd);
    qb_bitmaps_free(&bitmaps);
    if (r == 0 || odd->code == QB_E_CORRUPT || odd->code == QB_E_UNSUPPORTED)
        return 0;
    *err = *odd;
    return -1;
}

static void note_bitmap(struct qb_census *c, const struct qb_err *odd)
{
    if (odd->code == QB_E_CORRUPT && c->n_odd_bitmaps == 0)
        qb_census_note(c, QB_DEFECT_BITMAP_INVALID, odd->offset, "%s", odd->text);
}

static int check_metadata(struct checking *k, struct qb_err *err)
{
    struct qb_census *c = &k->census;
    struct qb_check_result *result = &k->out->result;
    struct qb_err odd_bitmap;
    int r = prepare_signs(k, err);

    if (r == 0)
        r = look_at_bitmaps(k, &odd_bitmap, err);
    if (r == 0)
        r = take_census(k, err);
    if (r == 0)
        note_bitmap(c, &odd_bitmap);
    if (r == 0)
        r = check_data(k, err);
    if (r == 0 && k->wish->level == QB_CHECK_CONTENT && !k->img.geom.external_data)
        r = qb_readable_check(k->io, c, &k->file, err);
    if (r == 0 && k->signs)
        r = qb_signs_tell(k->io, k->signs, c, err);
    note_mark(k);
    note_snapshots(k);
    result->clusters = c->clusters;
    result->corruptions = qb_census_corruptions(c) + k->corruptions;
    result->leaks = c->n_leaks;
    result->end_offset = c->end;
    qb_census_free(c);
    free(qb_take(&k->signs));
    return r;
}

static int check_open(struct checking *k, struct qb_err *err)
{
    struct qb_info info;
    int r = 0;

    if (qb_image_open_to_mend(k->io, &k->file, &k->img, err) < 0)
        return -1;
    qb_image_info(&k->img, &info);
    k->out->memory.before = &info;
    qb_result_own(&k->out->memory);
    if (k->wish->level != QB_CHECK_HEADER)
        r = qb_image_read_snapshots(k->io, &k->img, err);
    if (r == 0)
        r = check_metadata(k, err);
    qb_image_close(&k->img);
    return r;
}

static int check(struct checking *k, const char *path, struct qb_err *err)
{
    int r = qb_image_file_begin(k->io, path, k->wish->file, k->wish->without_locks, &k->file, err);

    if (r == 0)
        r = check_open(k, err);
    k->out->result.io = k->file.stats;
    close_all(k);
    return r;
}

static const struct checked not_checked = {
    .result.err = {QB_E_MEMORY, 0, QB_NOWHERE, "out of memory"}};

/* `err` is NULL after a success. */
static int finish(struct checked *k, const struct qb_err *err,
                  const struct qb_check_result **result)
{
    if (err)
        qb_result_fail(&k->memory, err);
    k->result.err = k->memory.err;
    k->result.info = k->memory.before;
    k->result.data_file_err = k->data_memory.err;
    *result = &k->result;
    return err ? -1 : 0;
}

int qb_check_fail(const struct qb_err *err, const struct qb_check_result **result)
{
    struct checked *k = calloc(1, sizeof(*k));

    *result = &not_checked.result;
    return k ? finish(k, err, result) : -1;
}

int qb_check_run(struct qb_io *io, const char *path, const struct qb_check_wish *wish,
                 const struct qb_check_result **result)
{
    struct qb_err err = {.offset = QB_NOWHERE};
    struct checking k = {
        .io = io, .wish = wish, .file.fd = -1, .data.fd = -1, .out = calloc(1, sizeof(*k.out))};

    *result = &not_checked.result;
    if (!k.out)
        return -1;
    return finish(k.out, check(&k, path, &err) < 0 ? &err : NULL, result);
}

void qb_check_result_free(const struct qb_check_result *result)
{
    struct checked *k = (struct checked *)result;

    if (!k || k == &not_checked)
        return;
    qb_result_clear(&k->memory);
    qb_result_clear(&k->data_memory);
    free(k);
}
