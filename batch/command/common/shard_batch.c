#include "common/shard_batch.h"

#include <stdlib.h>
#include <string.h>

#include "backing/tree.h"
#include "base/own.h"
#include "common/confined_reading.h"
#include "host/topo.h"
#include "opener/named.h"
#include "shard/shard.h"
#include "util/signal.h"
#include "util/whole.h"

struct dividing {
    struct qb_batch *batch;
    struct qb_shard shard;
    struct qb_owners *owners;
    struct qb_sched *sched;
    struct qb_confined_reading reading;
    struct qb_family family;
    unsigned wanted; /* workers */
    size_t *base;    /* of each job */
    struct qb_err *err;
    bool failed;
};

static void end(struct dividing *d)
{
    qb_family_free(&d->family);
    qb_sched_close(d->sched);
    qb_confined_reading_end(&d->reading);
    qb_owners_free(d->owners);
}

static int divide(struct qb_batch *batch, struct qb_shard shard, size_t *base, struct qb_err *err)
{
    size_t n = batch->n_jobs;
    QB_AUTO(qb_buf) uint64_t *hashes = malloc((n + 1) * sizeof(*hashes));
    QB_AUTO(qb_buf) bool *mine = malloc(n + 1);

    if (!hashes || !mine)
        return qb_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        hashes[i] = qb_shard_hash(batch->jobs[i].path + batch->jobs[i].named_at);
    qb_shard_divide(shard, n, hashes, base, mine);
    batch->origin.shard = shard;
    return qb_batch_keep_only(batch, mine) ? 0 : qb_fail_memory(err);
}

static size_t *no_bases(size_t n)
{
    size_t *base = malloc((n + 1) * sizeof(*base));

    for (size_t i = 0; base && i < n; i++)
        base[i] = QB_SHARD_ALONE;
    return base;
}

int qb_shard_list(struct qb_batch *batch, struct qb_shard shard, struct qb_err *err)
{
    QB_AUTO(qb_buf) size_t *base = no_bases(batch->n_jobs);

    return base ? divide(batch, shard, base, err) : qb_fail_memory(err);
}

/* What counts is the chain that an image is to have, which is the same before and after its amend:
 * a shard that is started again divides as it did. */
static void note_bases(const struct qb_family *f, size_t *base)
{
    for (size_t i = 0; i < f->members.n; i++) {
        const struct qb_member *m = &f->members.items[i];

        if (m->job != QB_NO_JOB && m->after != QB_NO_MEMBER && m->after_must)
            base[m->job] = f->members.items[m->after].job;
    }
}

static void read_all(void *arg)
{
    struct dividing *d = arg;

    d->failed = qb_confined_reading_begin(&d->reading, d->sched, d->owners, d->err) < 0 ||
                qb_family_read(d->batch, d->sched, qb_signal_seen, &d->family, d->err) < 0 ||
                qb_family_order(&d->family, d->batch, d->sched, d->err) < 0;
}

static int read_bases(struct dividing *d)
{
    const char *fell_back;

    d->owners = qb_policy_owners(&d->batch->policy, false, d->err);
    if (!d->owners || qb_sched_open(qb_topo_open(d->wanted, d->batch), QB_IO_POSIX, false,
                                    &d->sched, &fell_back, d->err) < 0)
        return -1;
    qb_sched_set_owners(d->sched, d->owners);
    if (qb_confined_reading_enter(&d->reading, d->batch, d->sched, d->owners, d->err) < 0)
        return -1;
    qb_sched_run(d->sched, read_all, d);
    if (d->failed)
        return -1;
    if (qb_signal_seen())
        return qb_fail(d->err, QB_E_CANCELLED, QB_NOWHERE, "interrupted before the first image");
    note_bases(&d->family, d->base);
    return 0;
}

/* ---- in a process of its own, that may die of an image ----------------------------------------
 */

struct answer {
    int failed;
    struct qb_err err;
};

static void be_reader(void *arg, int fd)
{
    struct dividing *d = arg;
    struct answer answer = {0};

    d->err = &answer.err;
    answer.failed = read_bases(d);
    if (qb_write_whole(fd, &answer, sizeof(answer)) == 0 && answer.failed == 0)
        qb_write_whole(fd, d->base, d->batch->n_jobs * sizeof(*d->base));
    end(d);
}

static bool are_bases(const size_t *base, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (base[i] >= n && base[i] != QB_SHARD_ALONE)
            return false;
    return true;
}

static bool is_error(const struct qb_err *err)
{
    return err->code != QB_E_NONE && err->code < QB_E_COUNT &&
           memchr(err->text, '\0', sizeof(err->text));
}

static bool take_bases(void *arg, struct qb_mortal *from)
{
    struct dividing *d = arg;
    struct answer answer;
    size_t n = d->batch->n_jobs;

    if (!qb_mortal_take(from, &answer, sizeof(answer)))
        return false;
    d->failed = answer.failed != 0;
    if (d->failed && is_error(&answer.err)) {
        *d->err = answer.err;
        return true;
    }
    return !d->failed && qb_mortal_take(from, d->base, n * sizeof(*d->base)) &&
           are_bases(d->base, n);
}

static int ask_reader(struct dividing *d)
{
    const struct qb_headers_apart apart = {
        .batch = d->batch, .program = "qbatch", .body = be_reader, .take = take_bases, .arg = d};
    bool began;

    return qb_headers_read_apart(&apart, &began, d->err) < 0 || d->failed ? -1 : 0;
}

int qb_shard_batch(struct qb_batch *batch, struct qb_shard shard, unsigned jobs, struct qb_err *err)
{
    struct dividing d = {.batch = batch, .shard = shard, .err = err};
    QB_AUTO(qb_buf) size_t *base = no_bases(batch->n_jobs);

    if (!base)
        return qb_fail_memory(err);
    d.base = base;
    d.wanted = jobs ? jobs : batch->limits.jobs;
    if (ask_reader(&d) < 0)
        return -1;
    return divide(batch, shard, base, err);
}
