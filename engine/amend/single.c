/* The library's simple calls: one image at a time, all phases in a row. */
#include <string.h>

#include "amend/amend.h"
#include "check/census.h"
#include "io/named.h"

static int barrier(struct qb_io *io, struct qb_amend *a)
{
    struct qb_file *file = qb_amend_file(a);
    int errnum = 0;

    qb_io_barrier(io, &file, 1, QB_SYNC_FILE, &errnum);
    return errnum;
}

static int run_plan(struct qb_io *io, struct qb_amend *a)
{
    int lost;

    if (qb_amend_remember(a, io) < 0 || qb_amend_append(a, io) < 0)
        return -1;
    lost = qb_amend_appends(a) ? barrier(io, a) : 0;
    if (lost) {
        qb_amend_append_lost(a, io, lost);
        return -1;
    }
    if (qb_amend_flip(a, io) < 0 || qb_amend_flipped(a, barrier(io, a)) < 0)
        return -1;
    qb_amend_verify_from_disk(a);
    if (qb_amend_verify(a, io) < 0)
        return -1;
    qb_amend_settle(a, io);
    return 0;
}

int qb_amend_image(const char *path, const struct qb_request *request, enum qb_io_kind kind,
                   bool dry_run, struct qb_result *result)
{
    struct qb_amend *a = qb_amend_new(path);
    struct qb_owners *owners = qb_owners_new(request->owner_need_not_read);
    struct qb_io *io = NULL;
    int r;

    memset(result, 0, sizeof(*result));
    result->status = QB_STATUS_FAILED;
    if (!a || !owners) {
        qb_amend_close(a);
        qb_owners_free(owners);
        return qb_fail_memory(&result->err);
    }
    if (qb_io_open(kind, &io, NULL, &result->err) < 0) {
        qb_amend_close(a);
        qb_owners_free(owners);
        return -1;
    }
    qb_io_set_owners(io, owners);
    r = qb_amend_open(a, io, (struct qb_claim){!dry_run, request->without_locks}, NULL);
    if (r == 0)
        r = qb_amend_plan(a, io, request);
    if (r == 0 && !dry_run && qb_amend_result(a)->status == QB_STATUS_WOULD_CHANGE)
        r = run_plan(io, a);
    *result = *qb_amend_result(a);
    qb_amend_close(a);
    qb_io_close(io);
    qb_owners_free(owners);
    return r;
}

/* The mark is a finding of its own: QEMU opens such an image read-only, whatever is in it. */
static uint64_t note_mark(const struct qb_image *img, qb_finding_fn *found, void *arg)
{
    if (!(img->header.incompatible & QB_INCOMPAT_CORRUPT))
        return 0;
    if (found)
        found(arg, false, offsetof(struct qb_disk_header, incompatible),
              "the image is marked corrupt");
    return 1;
}

static int check_file(struct qb_io *io, struct qb_file *file, qb_finding_fn *found, void *arg,
                      struct qb_check_result *result, struct qb_err *err)
{
    struct qb_image img;
    struct qb_census c;
    int r;

    if (qb_file_lock(file, false, err) < 0 || qb_image_open(io, file, &img, err) < 0)
        return -1;
    qb_image_info(&img, &result->info);
    r = qb_image_read_snapshots(io, &img, err);
    if (r == 0) {
        r = qb_census_take(io, &img, 0, found, arg, &c, err);
        result->clusters = c.clusters;
        result->corruptions = qb_census_corruptions(&c) + note_mark(&img, found, arg);
        result->leaks = c.n_leaks;
        result->end_offset = c.end;
        qb_census_free(&c);
    }
    qb_image_close(&img);
    return r;
}

int qb_check_image(const char *path, enum qb_io_kind kind, qb_finding_fn *found, void *arg,
                   struct qb_check_result *result, struct qb_err *err)
{
    struct qb_io *io = NULL;
    struct qb_file file = {.fd = -1};
    int r = -1;

    memset(result, 0, sizeof(*result));
    if (qb_io_open(kind, &io, NULL, err) < 0)
        return -1;
    if (qb_file_open(path, false, &file, err) == 0)
        r = check_file(io, &file, found, arg, result, err);
    result->io = file.stats;
    qb_file_close(&file);
    qb_io_close(io);
    return r;
}
