/* The library's simple calls: one image at a time, all phases in a row. */
#include <stdlib.h>
#include <string.h>

#include "amend/amend.h"
#include "base/num.h"
#include "base/result.h"
#include "base/stop.h"
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
    if (qb_io_go_on(io, qb_amend_err(a)) < 0)
        return -1;
    qb_io_set_stop(io, NULL, NULL); /* from here on the image would be left in its middle */
    if (qb_amend_flip(a, io) < 0 || qb_amend_flipped(a, barrier(io, a)) < 0)
        return -1;
    qb_amend_verify_from_disk(a);
    if (qb_amend_verify(a, io) < 0)
        return -1;
    qb_amend_settle(a, io);
    return 0;
}

/* ---- what a caller hands in ------------------------------------------------------------------ */

/* Takes over a struct whose first member is its size in the caller's qbatch.h.  What an older
 * caller does not know is 0, the default; what a newer one has more must not be in use. */
static int take_struct(void *to, size_t known, const void *from, const char *name,
                       struct qb_err *err)
{
    const char *bytes = from;
    size_t given;

    memcpy(&given, from, sizeof(given));
    if (given < sizeof(given))
        return qb_fail(err, QB_E_REFUSED, QB_NOWHERE, "struct_size of %s is not set", name);
    for (size_t i = known; i < given; i++)
        if (bytes[i])
            return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE,
                           "%s asks for something that this version of libqbatch does not have",
                           name);
    memset(to, 0, known);
    memcpy(to, from, QB_MIN(given, known));
    return 0;
}

static int take_options(struct qb_options *to, const struct qb_options *from, struct qb_err *err)
{
    *to = (struct qb_options){0};
    return from ? take_struct(to, sizeof(*to), from, "qb_options", err) : 0;
}

static int open_io(const struct qb_options *o, struct qb_io **io, struct qb_err *err)
{
    if (qb_io_open(o->io, io, NULL, err) < 0)
        return -1;
    if (o->stop)
        qb_io_set_stop(*io, qb_stop_requested, o->stop);
    return 0;
}

/* ---- amend ----------------------------------------------------------------------------------- */

static int amend_open(struct qb_amend *a, struct qb_io *io, const struct qb_request *request,
                      bool dry_run)
{
    struct qb_claim how = {.writable = !dry_run, .without_locks = request->without_locks};

    if (qb_amend_open(a, io, how, NULL) < 0 || qb_amend_plan(a, io, request) < 0)
        return -1;
    if (dry_run || qb_amend_result(a)->status != QB_STATUS_WOULD_CHANGE)
        return 0;
    return run_plan(io, a);
}

static int amend(struct qb_amend *a, const struct qb_request *request,
                 const struct qb_options *options)
{
    struct qb_owners *owners = NULL;
    struct qb_io *io = NULL;
    struct qb_options o;
    struct qb_request rq;
    int r = -1;

    qb_amend_result(a)->status = QB_STATUS_FAILED;
    if (take_options(&o, options, qb_amend_err(a)) < 0 ||
        take_struct(&rq, sizeof(rq), request, "qb_request", qb_amend_err(a)) < 0)
        return -1;
    owners = qb_owners_new(rq.owner_need_not_read);
    if (!owners)
        qb_fail_memory(qb_amend_err(a));
    else if (open_io(&o, &io, qb_amend_err(a)) == 0) {
        qb_io_set_owners(io, owners);
        r = amend_open(a, io, &rq, o.dry_run);
        if (r < 0 && qb_amend_err(a)->code == QB_E_CANCELLED)
            qb_amend_cancel(a, io, QB_E_CANCELLED);
    }
    qb_amend_release(a); /* while the request is there */
    qb_io_close(io);
    qb_owners_free(owners);
    return r;
}

static const struct qb_result no_memory = {.status = QB_STATUS_FAILED,
                                           .err = {QB_E_MEMORY, 0, QB_NOWHERE, "out of memory"}};

int qb_amend_image(const char *path, const struct qb_request *request,
                   const struct qb_options *options, const struct qb_result **result)
{
    struct qb_result *out = malloc(sizeof(*out));
    struct qb_amend *a = out ? qb_amend_new(path) : NULL;
    int r;

    *result = &no_memory;
    if (!a) {
        free(out);
        return -1;
    }
    r = amend(a, request, options);
    *out = qb_amend_take_result(a);
    *result = out;
    qb_amend_close(a);
    return r;
}

void qb_result_free(const struct qb_result *result)
{
    if (!result || result == &no_memory)
        return;
    free(result->memory);
    free((void *)result);
}

/* ---- check ----------------------------------------------------------------------------------- */

/* A check's result, and what it points to. */
struct checked {
    struct qb_check_result result; /* first: what the caller has */
    struct qb_result memory;       /* only `before` and `err` are used */
};

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

static int check_image(struct qb_io *io, const struct qb_image *img, const struct qb_options *o,
                       struct qb_check_result *result, struct qb_err *err)
{
    struct qb_census c;
    int r = qb_census_take(io, img, 0, o->found, o->found_arg, &c, err);

    result->clusters = c.clusters;
    result->corruptions = qb_census_corruptions(&c) + note_mark(img, o->found, o->found_arg);
    result->leaks = c.n_leaks;
    result->end_offset = c.end;
    qb_census_free(&c);
    return r;
}

static int check_file(struct qb_io *io, struct qb_file *file, const struct qb_options *o,
                      struct checked *k, struct qb_err *err)
{
    struct qb_image img;
    struct qb_info info;
    int r;

    if (qb_file_lock(file, false, err) < 0 || qb_image_open(io, file, &img, err) < 0)
        return -1;
    qb_image_info(&img, &info);
    k->memory.before = &info;
    qb_result_own(&k->memory);
    r = qb_image_read_snapshots(io, &img, err);
    if (r == 0)
        r = check_image(io, &img, o, &k->result, err);
    qb_image_close(&img);
    return r;
}

static int check(const char *path, const struct qb_options *options, struct checked *k,
                 struct qb_err *err)
{
    struct qb_file file = {.fd = -1};
    struct qb_io *io = NULL;
    struct qb_options o;
    int r;

    if (take_options(&o, options, err) < 0 || open_io(&o, &io, err) < 0)
        return -1;
    r = qb_file_open(path, false, &file, err);
    if (r == 0)
        r = check_file(io, &file, &o, k, err);
    k->result.io = file.stats;
    qb_file_close(&file);
    qb_io_close(io);
    return r;
}

static const struct checked not_checked = {
    .result.err = {QB_E_MEMORY, 0, QB_NOWHERE, "out of memory"}};

int qb_check_image(const char *path, const struct qb_options *options,
                   const struct qb_check_result **result)
{
    struct checked *k = calloc(1, sizeof(*k));
    struct qb_err err = {.offset = QB_NOWHERE};
    int r;

    *result = &not_checked.result;
    if (!k)
        return -1;
    r = check(path, options, k, &err);
    qb_result_fail(&k->memory, &err);
    k->result.err = k->memory.err;
    k->result.info = k->memory.before;
    *result = &k->result;
    return r;
}

void qb_check_result_free(const struct qb_check_result *result)
{
    struct checked *k = (struct checked *)result;

    if (!k || k == &not_checked)
        return;
    qb_result_clear(&k->memory);
    free(k);
}
