#include "host/confining.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "io/crew.h"
#include "opener/look.h"

void qb_confining_init(struct qb_confining *c, struct qb_batch *batch, bool dry_run)
{
    *c = (struct qb_confining){.batch = batch,
                               .dry_run = dry_run,
                               .opener.list = QB_ERRANDS_MAX,
                               .opening = {.mutex = PTHREAD_MUTEX_INITIALIZER},
                               .sandboxed.policy = batch->policy.sandbox};
    if (batch->policy.sandbox == QB_SANDBOX_OFF)
        c->sandboxed.why_not = "policy.sandbox is off";
    else if (!qb_confine_built())
        c->sandboxed.why_not = "this build has sanitizers, which a sandbox would keep from working";
}

static bool is_strict(const struct qb_confining *c)
{
    return c->sandboxed.policy == QB_SANDBOX_STRICT;
}

/* With `strict`. */
static int lack(const struct qb_confinement *got, struct qb_err *err)
{
    char text[QB_SANDBOX_TEXT];
    const char *lacking = qb_sandbox_lack(got, QB_SANDBOX_STRICT, text);

    if (!qb_confine_built())
        lacking = "this build has sanitizers, and no sandbox";
    if (!lacking)
        return 0;
    return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE, "policy.sandbox is strict: %.300s", lacking);
}

int qb_confining_check(struct qb_confining *c, struct qb_err *err)
{
    struct qb_confinement offered;

    if (!is_strict(c))
        return 0;
    qb_confine_find(&offered);
    qb_confine_try(&offered);
    if (c->sandboxed.why_not && qb_confine_built())
        return qb_fail(err, QB_E_UNSUPPORTED, QB_NOWHERE, "policy.sandbox is strict: %s",
                       c->sandboxed.why_not);
    return lack(&offered, err);
}

bool qb_confining_is_due(const struct qb_confining *c)
{
    return c && !c->begun && c->sandboxed.policy != QB_SANDBOX_OFF;
}

/* ---- the helper ------------------------------------------------------------------------------ */

/* In the helper. */
static struct qb_claim claim_of(const struct qb_confining *c, const struct qb_job *job)
{
    return (struct qb_claim){.writable = !c->dry_run,
                             .without_locks = job->request.without_locks,
                             .on_link = job->request.on_link};
}

static const struct qb_job *job_at(const struct qb_batch *batch, size_t i)
{
    return i < batch->n_jobs ? &batch->jobs[i] : &batch->others[i - batch->n_jobs];
}

/* The number of the image with this path, counting those of other shards after those of the batch;
 * SIZE_MAX: it is none. */
static size_t find_image(const struct qb_confining *c, const char *path)
{
    struct qb_probe p = qb_index_probe(&c->images, qb_key_of_text(path));

    while (qb_index_next(&c->images, &p))
        if (strcmp(job_at(c->batch, p.item)->path, path) == 0)
            return p.item;
    return SIZE_MAX;
}

static const char *image(void *arg, size_t number, struct qb_claim *how)
{
    const struct qb_confining *c = arg;

    if (number >= c->batch->n_jobs)
        return NULL;
    *how = claim_of(c, &c->batch->jobs[number]);
    return c->batch->jobs[number].path;
}

static bool is_image(void *arg, const char *path, struct qb_claim *how)
{
    return image(arg, find_image(arg, path), how) != NULL;
}

static bool may_read(void *arg, const char *path)
{
    const struct qb_confining *c = arg;

    return find_image(c, path) != SIZE_MAX || (c->more.has && c->more.has(c->more.arg, path));
}

/* As the manifest found it. */
static bool has_file(void *arg, const struct stat *st)
{
    const struct qb_batch *batch = ((const struct qb_confining *)arg)->batch;

    for (size_t i = 0; i < batch->n_jobs + batch->n_others; i++) {
        const struct qb_job *job = job_at(batch, i);

        if (job->ino == st->st_ino && job->dev == st->st_dev)
            return true;
    }
    return false;
}

static int list_images(struct qb_confining *c, struct qb_err *err)
{
    size_t n = c->batch->n_jobs + c->batch->n_others;

    if (!qb_index_room(&c->images, n))
        return qb_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        qb_index_add(&c->images, qb_key_of_text(job_at(c->batch, i)->path), i);
    return 0;
}

/* A build with sanitizers cannot have threads in a process that was forked beside others. */
static unsigned channels_for(const struct qb_confining *c, struct qb_sched *sched)
{
    if (c->batch->n_jobs <= QB_CONFINED_IMAGES || !qb_confine_built())
        return 1;
    return qb_min(qb_sched_workers(sched), QB_CHANNELS_MAX);
}

static int start_helper(struct qb_confining *c, struct qb_sched *sched, struct qb_owners *owners,
                        struct qb_err *err)
{
    struct qb_opening_rules *rules = &c->opening;
    unsigned channels = channels_for(c, sched);
    struct qb_errands errands;
    int r;

    qb_sched_aside_wait(sched);
    rules->is_image = is_image;
    rules->may_read = may_read;
    rules->image = image;
    rules->has_file = has_file;
    rules->arg = c;
    rules->most = (struct qb_claim){.writable = !c->dry_run, .without_locks = true};
    if (list_images(c, err) < 0 || qb_opening_begin(rules, channels, owners, err) < 0)
        return -1;
    errands = c->errands;
    c->opener.helper = &c->helper;
    c->opener.errand = qb_errands_add_many(&errands, qb_opening_errand, rules);
    c->opener.claims = qb_errands_add_many(&errands, qb_opening_claims, rules);
    c->opener.look = qb_errands_add_many(&errands, qb_looking_errand, rules);
    c->opener.ahead = qb_errands_add_many(&errands, qb_looking_many, rules);
    if (c->opener.ahead == QB_ERRANDS_MAX)
        return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE, "too many errands");
    qb_sched_loosen(sched);
    r = qb_helper_start(&c->helper, &errands, channels, err);
    qb_sched_fasten(sched);
    if (r == 0)
        qb_sched_set_opener(sched, &c->opener);
    return r;
}

struct qb_io *qb_confining_io(const struct qb_confining *c, const struct qb_parcel *request)
{
    return c->opening.ios[request->channel];
}

bool qb_confining_asks(const struct qb_confining *c)
{
    return c && qb_helper_is_there(&c->helper);
}

int qb_confining_ask(struct qb_confining *c, unsigned errand, struct qb_io *stop,
                     struct qb_parcel *parcel)
{
    return qb_helper_ask(&c->helper, errand, stop, parcel);
}

void qb_confining_end(struct qb_confining *c)
{
    qb_helper_end(&c->helper);
    qb_opening_free(&c->opening);
    qb_index_free(&c->images);
}

/* ---- this process ---------------------------------------------------------------------------- */

/* The terminal is its parent's: a process could write to it what a terminal heeds, and read what is
 * typed.  The helper keeps it, for commands.  A build for debugging says there what went wrong. */
static void shut_errors(const struct qb_confining *c)
{
    if (c->has_parent && qb_confine_built() >> QB_CONFINE_CORE & 1)
        dup2(STDIN_FILENO, STDERR_FILENO); /* /dev/null */
}

/* By each thread, the first one last. */
static void confine_one(void *arg, struct qb_io *io, size_t i)
{
    struct qb_confining *c = arg;
    struct qb_confinement *got = &c->sandboxed.got, own = {0};

    (void)io;
    if (i > 0) {
        own.in_force = got->in_force; /* of the whole process */
        qb_confine_thread(&own);
        atomic_fetch_and(&c->on_all, own.in_force);
        return;
    }
    qb_confine_thread(got);
    got->in_force &= atomic_load(&c->on_all);
    qb_confine_process(got, c->opener.blind);
}

static int refuse_helper(struct qb_confining *c, const struct qb_err *err)
{
    snprintf(c->refused, sizeof(c->refused), "%.199s", err->text);
    c->sandboxed.why_not = c->refused;
    return is_strict(c) ? -1 : 0;
}

int qb_confining_enter(struct qb_confining *c, struct qb_sched *sched,
                       const struct qb_confine_wish *wish, struct qb_err *err)
{
    const unsigned both = 1u << QB_CONFINE_USER | 1u << QB_CONFINE_MOUNTS;
    struct qb_confinement *got;

    if (!qb_confining_is_due(c) || !is_strict(c) || !qb_confine_built())
        return 0;
    got = &c->sandboxed.got;
    if (start_helper(c, sched, wish->owners, err) < 0)
        return refuse_helper(c, err);
    if (wish->local_time) /* reads a file */
        tzset();
    qb_confine_enter(got);
    if ((got->in_force & both) != both) {
        got->in_force |= qb_confine_built() & ~both; /* not what lacks */
        return lack(got, err);
    }
    c->entered = c->opener.blind = true;
    c->batch->opener = &c->opener;
    return 0;
}

static int begin(struct qb_confining *c, struct qb_sched *sched, const struct qb_confine_wish *wish,
                 struct qb_err *err)
{
    if (is_strict(c) && qb_confine_built() && !c->entered)
        return qb_fail(err, QB_E_INTERNAL, QB_NOWHERE,
                       "policy.sandbox is strict: this process sees paths yet");
    if (!c->entered && wish->helper && start_helper(c, sched, wish->owners, err) < 0)
        return refuse_helper(c, err);
    if (wish->local_time && !c->entered) /* reads a file */
        tzset();
    if (wish->hands) /* reads some more, on a large machine */
        qb_io_hands(qb_sched_io(sched));
    shut_errors(c);
    atomic_store(&c->on_all, ~0u);
    qb_sched_all(sched, confine_one, c);
    c->sandboxed.applies = qb_confine_built() != 0;
    return is_strict(c) ? lack(&c->sandboxed.got, err) : 0;
}

int qb_confining_begin(struct qb_confining *c, struct qb_sched *sched,
                       const struct qb_confine_wish *wish, struct qb_err *err)
{
    int r;

    c->begun = true;
    r = begin(c, sched, wish, err);
    qb_sched_hold(sched, false);
    return r;
}

const char *qb_confining_lack(const struct qb_confining *c, char out[QB_SANDBOX_TEXT])
{
    if (c->refused[0])
        return c->refused;
    return c->sandboxed.applies ? qb_sandbox_lack(&c->sandboxed.got, c->sandboxed.policy, out)
                                : NULL;
}
