#include "wave/run_errands.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "qcow2/disk.h"
#include "host/child.h"
#include "clones/backup.h"
#include "wave/run_gate.h"

struct request {
    size_t job;
    uint64_t bytes;
    dev_t dev; /* of the image */
    ino_t ino;
};

struct answer {
    int failed;
    struct qb_err err;
    struct stat made;
};

/* ---- here -------------------------------------------------------------------------------------
 */

static int extend(const struct qb_batch *batch, size_t job, uint64_t bytes, struct qb_io *io,
                  struct qb_err *err)
{
    char **words = qb_child_words(&batch->policy.extend_command, batch->jobs[job].path, bytes);
    int r = words ? qb_child_run(words, io, err) : qb_fail_memory(err);

    qb_child_words_free(words);
    return r;
}

/* ---- in the helper ----------------------------------------------------------------------------
 */

/* The request, if it is one about an image of the batch. */
static const struct request *request_of(const struct qb_run_errands *e, const struct qb_parcel *p)
{
    const struct request *r = (const struct request *)p->bytes;

    return p->len == sizeof(*r) && r->job < e->confining->batch->n_jobs ? r : NULL;
}

static void put_answer(struct qb_parcel *p, const struct answer *a)
{
    memcpy(p->bytes, a, sizeof(*a));
    p->len = sizeof(*a);
}

/* An image may be planned anew, when memory was short. */
enum { EXTENDS_MAX = 8 };

/* One more, if there were fewer: several channels may ask at once. */
static bool count_up_to(atomic_uint *count, unsigned most)
{
    unsigned before = atomic_load(count);

    while (before < most)
        if (atomic_compare_exchange_weak(count, &before, before + 1))
            return true;
    return false;
}

/* Whether a run may ask for that: sectors, and not without end. */
static bool may_extend(const struct qb_run_errands *e, const struct request *r)
{
    return e->confining->batch->policy.extend_command.n && !e->confining->dry_run && r->bytes &&
           r->bytes % QB_SECTOR == 0 && r->bytes <= INT64_MAX &&
           count_up_to(&e->extended[r->job], EXTENDS_MAX);
}

static void on_extend(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    const struct qb_run_errands *e = arg;
    const struct qb_batch *batch = e->confining->batch;
    const struct request *r = request_of(e, request);
    struct qb_io *io = qb_confining_io(e->confining, request);
    struct answer a = {0};

    if (!r || !may_extend(e, r))
        return;
    qb_io_set_stop(io, qb_helper_is_to_stop, (void *)(uintptr_t)request);
    a.failed = extend(batch, r->job, r->bytes, io, &a.err);
    qb_io_set_stop(io, NULL, NULL);
    put_answer(answer, &a);
}

/* Once for each step. */
static bool may_ask_gate(struct qb_run_errands *e, const struct qb_gate_numbers *n)
{
    const struct qb_rollout *rollout = &e->confining->batch->rollout;

    return rollout->gate.command.n && !e->confining->dry_run && n->step >= 1 &&
           n->step <= n->steps && n->steps <= rollout->steps.n + 1 &&
           count_up_to(&e->gates, n->steps);
}

static void on_gate(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    struct qb_run_errands *e = arg;
    const struct qb_gate_numbers *r = (const struct qb_gate_numbers *)request->bytes;
    struct qb_io *io = qb_confining_io(e->confining, request);
    struct answer a = {0};

    if (request->len != sizeof(*r) || !may_ask_gate(e, r))
        return;
    qb_io_set_stop(io, qb_helper_is_to_stop, (void *)(uintptr_t)request);
    a.failed = qb_gate_run(e->confining->batch, e->journal, r, io, &a.err);
    qb_io_set_stop(io, NULL, NULL);
    put_answer(answer, &a);
}

/* The image itself is opened again: what a confined process holds is not handed back. */
static int clone_it(const struct qb_batch *batch, const struct request *r, struct answer *a)
{
    const struct qb_job *job = &batch->jobs[r->job];
    struct qb_file image;
    int failed;

    if (qb_file_open(job->path, &image, &a->err) < 0)
        return -1;
    if (image.dev == r->dev && image.ino == r->ino)
        failed = qb_backup_make(batch, job, &image, &a->made, &a->err);
    else
        failed = qb_fail(&a->err, QB_E_CHANGED, QB_NOWHERE, "another file took the image's place");
    qb_file_close(&image);
    return failed;
}

static void on_clone(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    const struct qb_run_errands *e = arg;
    const struct qb_batch *batch = e->confining->batch;
    const struct request *r = request_of(e, request);
    struct answer a = {0};

    if (!r || batch->policy.backup == QB_BACKUP_NONE || e->confining->dry_run)
        return;
    a.failed = clone_it(batch, r, &a);
    e->cloned[r->job] |= a.failed == 0;
    put_answer(answer, &a);
}

/* Only one that was made just now. */
static void on_unclone(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    const struct qb_run_errands *e = arg;
    const struct request *r = request_of(e, request);
    const struct answer a = {0};

    if (r && e->cloned[r->job])
        qb_backup_remove(e->confining->batch, &e->confining->batch->jobs[r->job]);
    put_answer(answer, &a);
}

static void on_places(void *arg, const struct qb_parcel *request, struct qb_parcel *answer)
{
    const struct qb_run_errands *e = arg;
    QB_AUTO(qb_buf) char *text = qb_owners_places(e->owners);
    size_t len = text ? strlen(text) + 1 : 0;

    (void)request;
    if (len > sizeof(answer->bytes))
        return;
    memcpy(answer->bytes, text ? text : "", len);
    answer->len = len;
}

/* ---- either -----------------------------------------------------------------------------------
 */

int qb_run_errands_offer(struct qb_run_errands *e, struct qb_confining *c, const char *journal,
                         struct qb_err *err)
{
    *e = (struct qb_run_errands){.confining = c, .journal = journal};
    if (!c)
        return 0;
    e->cloned = calloc(c->batch->n_jobs + 1, sizeof(e->cloned[0]));
    e->extended = calloc(c->batch->n_jobs + 1, sizeof(e->extended[0]));
    if (!e->cloned || !e->extended)
        return qb_fail_memory(err);
    e->extend = qb_errands_add(&c->errands, on_extend, e);
    e->clone = qb_errands_add(&c->errands, on_clone, e);
    e->unclone = qb_errands_add(&c->errands, on_unclone, e);
    e->places = qb_errands_add(&c->errands, on_places, e);
    e->gate = qb_errands_add(&c->errands, on_gate, e);
    qb_scan_offer(&e->scan, c);
    return 0;
}

void qb_run_errands_free(struct qb_run_errands *e)
{
    free(qb_take(&e->cloned));
    free(qb_take(&e->extended));
    qb_scan_errand_free(&e->scan);
}

/* 0 with *a; -1 with *err. */
static int ask(const struct qb_run_errands *e, unsigned errand, const void *request, size_t len,
               struct qb_io *stop, struct answer *a, struct qb_err *err)
{
    QB_AUTO(qb_buf) struct qb_parcel *p = malloc(sizeof(*p));

    if (!p)
        return qb_fail_memory(err);
    memcpy(p->bytes, request, len);
    p->len = len;
    if (qb_confining_ask(e->confining, errand, stop, p) || p->len != sizeof(*a))
        return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE,
                       "the process that opens files and runs commands has ended");
    memcpy(a, p->bytes, sizeof(*a));
    if (a->failed)
        *err = a->err;
    return a->failed ? -1 : 0;
}

static int ask_of(const struct qb_run_errands *e, unsigned errand, struct request request,
                  struct qb_io *stop, struct answer *a, struct qb_err *err)
{
    return ask(e, errand, &request, sizeof(request), stop, a, err);
}

int qb_run_extend(const struct qb_run_errands *e, const struct qb_batch *batch, size_t job,
                  uint64_t bytes, struct qb_io *io, struct qb_err *err)
{
    struct answer a;

    if (!qb_confining_asks(e->confining))
        return extend(batch, job, bytes, io, err);
    return ask_of(e, e->extend, (struct request){.job = job, .bytes = bytes}, io, &a, err);
}

int qb_run_gate(const struct qb_run_errands *e, const struct qb_batch *batch,
                const struct qb_gate_numbers *numbers, struct qb_io *io, struct qb_err *err)
{
    struct answer a;

    if (batch->rollout.gate.command.n == 0)
        return 0;
    if (!qb_confining_asks(e->confining))
        return qb_gate_run(batch, e->journal, numbers, io, err);
    return ask(e, e->gate, numbers, sizeof(*numbers), io, &a, err);
}

int qb_run_clone(const struct qb_run_errands *e, const struct qb_batch *batch, size_t job,
                 const struct qb_file *image, struct stat *made, struct qb_err *err)
{
    struct answer a;

    if (!qb_confining_asks(e->confining))
        return qb_backup_make(batch, &batch->jobs[job], image, made, err);
    if (ask_of(e, e->clone, (struct request){.job = job, .dev = image->dev, .ino = image->ino},
               NULL, &a, err) < 0)
        return -1;
    *made = a.made;
    return 0;
}

void qb_run_unclone(const struct qb_run_errands *e, const struct qb_batch *batch, size_t job)
{
    struct answer a;
    struct qb_err err;

    if (qb_confining_asks(e->confining))
        ask_of(e, e->unclone, (struct request){.job = job}, NULL, &a, &err);
    else
        qb_backup_remove(batch, &batch->jobs[job]);
}

char *qb_run_places(const struct qb_run_errands *e)
{
    QB_AUTO(qb_buf) struct qb_parcel *p = NULL;

    if (!qb_confining_asks(e->confining))
        return qb_owners_places(e->owners);
    p = malloc(sizeof(*p));
    if (!p)
        return NULL;
    p->len = 0;
    if (qb_confining_ask(e->confining, e->places, NULL, p) || p->len == 0)
        return NULL;
    p->bytes[p->len - 1] = '\0';
    return strdup((const char *)p->bytes);
}
