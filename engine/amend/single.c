/* Implements the library's calls for one image: all phases in a row. */
#include <stdlib.h>
#include <string.h>

#include "amend/amend.h"
#include "amend/check_image.h"
#include "base/num.h"
#include "base/stop.h"
#include "opener/named.h"

static int barrier(struct qb_io *io, struct qb_amend *a)
{
    struct qb_file *files[QB_AMEND_FILES];
    int errors[QB_AMEND_FILES] = {0};
    size_t n = qb_amend_dirty_files(a, files);

    qb_io_barrier(io, files, n, QB_SYNC_FILE, errors);
    return errors[0] ? errors[0] : errors[1];
}

static int commit(struct qb_io *io, struct qb_amend *a)
{
    if (qb_amend_flip(a, io) < 0 || qb_amend_flipped(a, barrier(io, a)) < 0)
        return -1;
    qb_amend_verify_from_disk(a);
    if (qb_amend_verify(a, io) < 0)
        return -1;
    qb_amend_settle(a, io);
    return 0;
}

static int run_plan(struct qb_io *io, struct qb_amend *a)
{
    struct qb_stopper stop;
    int lost, r;

    if (qb_amend_remember(a, io) < 0 || qb_amend_append(a, io) < 0)
        return -1;
    lost = qb_amend_appends(a) ? barrier(io, a) : 0;
    if (lost) {
        qb_amend_append_lost(a, io, lost);
        return -1;
    }
    if (qb_io_go_on(io, qb_amend_err(a)) < 0) {
        qb_amend_cancel(a, io, QB_E_CANCELLED);
        return -1;
    }
    /* from here on stopping would leave the image half amended */
    stop = qb_io_swap_stop(io, (struct qb_stopper){NULL, NULL});
    r = commit(io, a);
    qb_io_swap_stop(io, stop);
    return r;
}

/* A round that came to nothing leaves the image as the commit before it did. */
static int run_plans(struct qb_io *io, struct qb_amend *a, const struct qb_request *request)
{
    uint64_t memory = request->memory_limit;
    int r;

    do
        r = run_plan(io, a);
    while (r == 0 && qb_amend_has_more(a) && qb_amend_again(a, io, memory) > 0);
    return qb_amend_result(a)->status == QB_STATUS_CHANGED ? 0 : -1;
}

/* ---- the caller's structs -------------------------------------------------------------------- */

/* Takes over a struct whose first member is its size in the caller's qbatch.h.  Members that an
 * older caller's struct lacks are 0, the default; members that only a newer caller's struct has
 * must be 0. */
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
    struct qb_claim how = {
        .writable = !dry_run, .without_locks = request->without_locks, .on_link = request->on_link};

    qb_amend_expect(a, request);
    if (qb_amend_open(a, io, how, NULL) < 0 || qb_amend_plan(a, io, request) < 0)
        return -1;
    if (dry_run)
        return 0;
    if (qb_amend_result(a)->status == QB_STATUS_WOULD_CHANGE)
        return run_plans(io, a, request);
    return qb_amend_may_be_unsynced(a) ? qb_amend_found(a, barrier(io, a)) : 0;
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
    owners = qb_owners_new(&(struct qb_named_rules){.anybody = rq.owner_need_not_read,
                                                    .roots = rq.roots.items,
                                                    .n_roots = rq.roots.n,
                                                    .one_file_system = rq.one_file_system},
                           qb_amend_err(a));
    if (owners && open_io(&o, &io, qb_amend_err(a)) == 0) {
        qb_io_set_owners(io, owners);
        r = amend_open(a, io, &rq, o.dry_run);
        if (r < 0 && qb_amend_err(a)->code == QB_E_CANCELLED &&
            qb_amend_result(a)->status != QB_STATUS_INTERRUPTED)
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

int qb_check_image(const char *path, const struct qb_options *options,
                   const struct qb_check_result **result)
{
    struct qb_err err = {.offset = QB_NOWHERE};
    struct qb_io *io = NULL;
    struct qb_options o;
    int r;

    if (take_options(&o, options, &err) < 0 || open_io(&o, &io, &err) < 0)
        return qb_check_fail(&err, result);
    r = qb_check_run(io, path, &(struct qb_check_wish){.found = o.found, .found_arg = o.found_arg},
                     result);
    qb_io_close(io);
    return r;
}
