#include "opener/helper.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/beside.h"
#include "base/descriptors.h"
#include "base/num.h"

enum {
    ASKED_MS = 50,
    FILES_CLERK = 16, /* what a thread has open for a moment besides an answer's files */
};

/* ---- the helper ------------------------------------------------------------------------------ */

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void close_from_to(int first, int last)
{
    long most = sysconf(_SC_OPEN_MAX); /* -1: not told */

    if (first > last)
        return;
    if (close_range((unsigned)first, (unsigned)last, 0) == 0)
        return;
    for (int fd = first; fd <= last && (most < 0 || fd < most); fd++)
        close(fd);
}

static void close_others(const struct qb_errands *errands, const int *sockets, unsigned n_sockets)
{
    int kept[QB_KEPT_MAX + QB_CHANNELS_MAX], next = STDERR_FILENO + 1;
    unsigned n = errands->n_kept;

    memcpy(kept, errands->kept, n * sizeof(int));
    memcpy(kept + n, sockets, n_sockets * sizeof(int));
    n += n_sockets;
    qsort(kept, n, sizeof(int), by_number);
    for (unsigned i = 0; i < n; i++) {
        close_from_to(next, kept[i] - 1);
        next = QB_MAX(next, kept[i] + 1);
    }
    close_from_to(next, INT_MAX);
}

/* ^C is sent to all processes of the terminal's group: the caller decides what comes of it, and
 * still needs the helper for that. */
static void ignore_signals(void)
{
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXCPU, SIGALRM, SIGTSTP};

    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
}

bool qb_helper_is_to_stop(void *request)
{
    struct pollfd p = {.fd = ((const struct qb_parcel *)request)->caller, .events = POLLIN};

    return poll(&p, 1, 0) != 0; /* STOP, or the end */
}

/* What the threads of a helper have in common. */
struct office {
    const struct qb_errands *errands;
    pthread_mutex_t one; /* of the errands that are carried out one at a time */
};

struct clerk {
    struct office *office;
    unsigned channel;
    int fd;
    pthread_t thread;
};

static void carry_out(struct office *o, unsigned number, const struct qb_parcel *request,
                      struct qb_parcel *answer)
{
    const struct qb_errand *errand = &o->errands->of[number];

    if (!errand->many)
        pthread_mutex_lock(&o->one);
    errand->fn(errand->arg, request, answer);
    if (!errand->many)
        pthread_mutex_unlock(&o->one);
}

static void *serve(void *arg)
{
    struct clerk *c = arg;
    struct qb_parcel request = {.caller = c->fd, .channel = c->channel}, answer;
    unsigned errand;
    int got;

    while ((got = qb_parcel_receive(c->fd, &errand, &request)) != 0) {
        answer.len = answer.n_fds = 0;
        if (got > 0 && errand == QB_PARCEL_STOP) /* it came too late */
            continue;
        if (got > 0 && errand < c->office->errands->n)
            carry_out(c->office, errand, &request, &answer);
        qb_parcel_drop(&request); /* nobody sends any */
        if (qb_parcel_answer(c->fd, &answer) < 0)
            break;
        qb_parcel_drop(&answer);
    }
    return NULL;
}

/* The first channel is served by the process's first thread, with which it ends. */
static void serve_all(const struct qb_errands *errands, const int *fds, unsigned n)
{
    static const struct qb_parcel ready;
    struct office office = {errands, PTHREAD_MUTEX_INITIALIZER};
    struct clerk clerks[QB_CHANNELS_MAX];

    if (n > 1)
        qb_descriptors_make_room((QB_PARCEL_FILES + FILES_CLERK) * n + QB_KEPT_MAX);
    for (unsigned i = 0; i < n; i++)
        clerks[i] = (struct clerk){.office = &office, .channel = i, .fd = fds[i]};
    for (unsigned i = 1; i < n; i++)
        if (pthread_create(&clerks[i].thread, NULL, serve, &clerks[i]) != 0)
            return;
    if (qb_parcel_answer(fds[0], &ready) == 0)
        serve(&clerks[0]);
}

/* No signal ends it with its caller, which Landlock would keep from it on some kernels only: its
 * sockets do, and a command that it runs is ended first. */
static void be_helper(const struct qb_errands *errands, const int *fds, unsigned n)
{
    prctl(PR_SET_NAME, "qbatch-opener");
    ignore_signals();
    close_others(errands, fds, n);
    serve_all(errands, fds, n);
    _exit(0);
}

/* ---- its caller ------------------------------------------------------------------------------ */

static unsigned add(struct qb_errands *errands, struct qb_errand errand)
{
    if (errands->n == QB_ERRANDS_MAX)
        return QB_ERRANDS_MAX;
    errands->of[errands->n] = errand;
    return errands->n++;
}

unsigned qb_errands_add(struct qb_errands *errands, qb_errand_fn *fn, void *arg)
{
    return add(errands, (struct qb_errand){.fn = fn, .arg = arg});
}

unsigned qb_errands_add_many(struct qb_errands *errands, qb_errand_fn *fn, void *arg)
{
    return add(errands, (struct qb_errand){.fn = fn, .arg = arg, .many = true});
}

void qb_errands_keep(struct qb_errands *errands, int fd)
{
    if (fd >= 0 && errands->n_kept < QB_KEPT_MAX)
        errands->kept[errands->n_kept++] = fd;
}

static int fail_start(int errnum, struct qb_err *err)
{
    return qb_fail_sys(err, errnum, QB_NOWHERE, "cannot start the process that opens files");
}

/* Sockets to it, in helper->channels, and its own ones. */
static int make_channels(struct qb_helper *helper, unsigned n, int theirs[QB_CHANNELS_MAX])
{
    for (unsigned i = 0; i < n; i++) {
        int ends[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
            return -1;
        helper->channels[i].fd = ends[0];
        pthread_mutex_init(&helper->channels[i].mutex, NULL);
        theirs[i] = ends[1];
        helper->n_channels++;
    }
    return 0;
}

static void close_all(const int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        close(fds[i]);
}

static void close_channels(struct qb_helper *helper)
{
    for (unsigned i = 0; i < helper->n_channels; i++) {
        close(helper->channels[i].fd);
        pthread_mutex_destroy(&helper->channels[i].mutex);
    }
    helper->n_channels = 0;
}

/* Whether it is ready: 0 or an errno. */
static int wait_until_ready(struct qb_helper *helper)
{
    struct qb_parcel *ready = malloc(sizeof(*ready));
    unsigned word;
    int got;

    if (!ready)
        return ENOMEM;
    got = qb_parcel_receive(helper->channels[0].fd, &word, ready);
    free(ready);
    return got > 0 && word == QB_PARCEL_ANSWER ? 0 : ECHILD;
}

int qb_helper_start(struct qb_helper *helper, const struct qb_errands *errands, unsigned channels,
                    struct qb_err *err)
{
    int theirs[QB_CHANNELS_MAX], errnum = 0;

    *helper = (struct qb_helper){.pid = -1};
    if (make_channels(helper, QB_MIN(QB_MAX(channels, 1), QB_CHANNELS_MAX), theirs) < 0)
        errnum = errno;
    else if ((helper->pid = qb_fork()) == 0)
        be_helper(errands, theirs, helper->n_channels);
    else if (helper->pid < 0)
        errnum = errno;
    close_all(theirs, helper->n_channels);
    if (errnum) {
        close_channels(helper);
        return fail_start(errnum, err);
    }
    errnum = wait_until_ready(helper);
    if (!errnum)
        return 0;
    qb_helper_end(helper);
    return fail_start(errnum, err);
}

/* Until the answer is there. */
static void wait_for_answer(int fd, struct qb_io *stop)
{
    const struct qb_parcel nothing = {.len = 0};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    bool told = false;
    int got;

    while (stop && ((got = poll(&p, 1, ASKED_MS)) == 0 || (got < 0 && errno == EINTR))) {
        if (!told && qb_io_go_on(stop, NULL) < 0) {
            told = true;
            qb_parcel_request(fd, QB_PARCEL_STOP, &nothing);
        }
    }
}

/* A channel that nobody waits on, or else the first. */
static struct qb_channel *take_channel(struct qb_helper *helper)
{
    for (unsigned i = 0; i < helper->n_channels; i++)
        if (pthread_mutex_trylock(&helper->channels[i].mutex) == 0)
            return &helper->channels[i];
    pthread_mutex_lock(&helper->channels[0].mutex);
    return &helper->channels[0];
}

int qb_helper_ask(struct qb_helper *helper, unsigned errand, struct qb_io *stop,
                  struct qb_parcel *parcel)
{
    struct qb_channel *c = take_channel(helper);
    unsigned word;
    int r = -1, got;

    if (qb_parcel_request(c->fd, errand, parcel) == 0) {
        wait_for_answer(c->fd, stop);
        got = qb_parcel_receive(c->fd, &word, parcel);
        r = got > 0 && word == QB_PARCEL_ANSWER ? 0 : got < 0 && errno == EMFILE ? EMFILE : -1;
    }
    pthread_mutex_unlock(&c->mutex);
    return r;
}

bool qb_helper_is_lost(const struct qb_helper *helper)
{
    struct pollfd p = {.fd = -1};

    if (!qb_helper_is_there(helper))
        return false;
    p.fd = helper->channels[0].fd;
    return poll(&p, 1, 0) > 0 && (p.revents & POLLHUP);
}

void qb_helper_end(struct qb_helper *helper)
{
    if (!qb_helper_is_there(helper))
        return;
    close_channels(helper);
    while (waitpid(helper->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
