#include "host/mortal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/beside.h"
#include "base/num.h"
#include "util/exit_code.h"
#include "util/signal.h"
#include "util/whole.h"

enum { ASKED_MS = 100, GATHER_US = 500 };

atomic_size_t *qb_begun_add(struct qb_begun *begun, size_t number)
{
    for (size_t i = 0; i < QB_BEGUN_MAX; i++) {
        atomic_size_t *place = &begun->of[(number + i) % QB_BEGUN_MAX];
        size_t none = 0;

        if (atomic_compare_exchange_strong(place, &none, number + 1))
            return place;
    }
    return NULL;
}

void *qb_mortal_share(size_t n)
{
    void *memory = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

void qb_mortal_unshare(void *memory, size_t n)
{
    if (memory)
        munmap(memory, n);
}

/* ---- the process ----------------------------------------------------------------------------- */

/* Of what is open it needs standard error, the socket and what it was left: the reports are its
 * parent's, and so is the terminal. */
static void close_others(const struct qb_mortal_wish *wish, int fd)
{
    int kept = wish->kept, null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int low = QB_MIN(kept < 0 ? fd : kept, fd), high = QB_MAX(kept, fd);

    for (int i = STDIN_FILENO; null >= 0 && !wish->keeps_output && i <= STDOUT_FILENO; i++)
        dup2(null, i);
    if (low > STDERR_FILENO + 1)
        close_range(STDERR_FILENO + 1, (unsigned)low - 1, 0);
    if (high > low + 1)
        close_range((unsigned)low + 1, (unsigned)high - 1, 0);
    close_range((unsigned)high + 1, UINT_MAX, 0);
}

static _Noreturn void be_process(const struct qb_mortal_wish *wish, int fd, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(QB_EXIT_FAILED);
    prctl(PR_SET_NAME, "qbatch-images");
    qb_signal_leave();
    close_others(wish, fd);
    wish->body(wish->arg, fd);
    _exit(0);
}

void qb_mortal_tell(int fd, struct qb_wire *wire)
{
    if (wire->failed || qb_write_whole(fd, wire->bytes, wire->n))
        _exit(QB_EXIT_FAILED);
    wire->n = 0;
}

/* ---- its parent ------------------------------------------------------------------------------ */

static int fail_start(int errnum, struct qb_err *err)
{
    return qb_fail_sys(err, errnum, QB_NOWHERE, "cannot start the process that reads images");
}

/* A read that waits returns now and then, and on a signal, to see whether it is to go on. */
static void watch(int fd)
{
    struct timeval often = {.tv_usec = ASKED_MS * 1000};

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &often, sizeof(often));
}

int qb_mortal_start(struct qb_mortal *m, const struct qb_mortal_wish *wish, struct qb_err *err)
{
    pid_t self = getpid();
    int ends[2], errnum;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return fail_start(errno, err);
    if (wish->errands)
        qb_errands_keep(wish->errands, ends[1]); /* so its end is that of both */
    m->at = m->n_read = 0;
    m->over = m->gathers = false;
    m->pid = qb_fork();
    errnum = errno;
    if (m->pid == 0)
        be_process(wish, ends[1], self);
    if (wish->errands)
        wish->errands->n_kept--;
    close(ends[1]);
    m->fd = ends[0];
    if (m->stopped)
        watch(m->fd);
    if (m->pid > 0)
        return 0;
    close(ends[0]);
    return fail_start(errnum, err);
}

/* What it has told by then is taken all the same. */
static void stop_if_asked(struct qb_mortal *m)
{
    if (!m->stopped || !m->stopped())
        return;
    kill(m->pid, SIGKILL);
    m->stopped = NULL;
}

static bool read_some(struct qb_mortal *m)
{
    ssize_t got;

    if (m->gathers && m->n_read < QB_MORTAL_READ / 2)
        usleep(GATHER_US);
    while ((got = read(m->fd, m->buffer, QB_MORTAL_READ)) < 0 &&
           (errno == EINTR || errno == EAGAIN))
        stop_if_asked(m);
    m->at = 0;
    m->n_read = got > 0 ? (size_t)got : 0;
    m->over = got <= 0;
    return got > 0;
}

bool qb_mortal_take(struct qb_mortal *m, void *out, size_t n)
{
    char *at = out;

    while (n > 0) {
        size_t some = QB_MIN(n, m->n_read - m->at);

        memcpy(at, m->buffer + m->at, some);
        m->at += some;
        at += some;
        n -= some;
        if (n > 0 && !read_some(m))
            return false;
    }
    return true;
}

/* Its helper has the other end, too, and goes with it. */
void qb_mortal_end(struct qb_mortal *m, bool done, char how[QB_MORTAL_HOW])
{
    int status = 0;

    if (!done)
        kill(m->pid, SIGKILL);
    m->gathers = false;
    while (read_some(m))
        ;
    while (waitpid(m->pid, &status, 0) < 0 && errno == EINTR)
        ;
    close(m->fd);
    if (!how)
        return;
    if (WIFSIGNALED(status))
        snprintf(how, QB_MORTAL_HOW, "was ended by signal %d (%.60s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == QB_MORTAL_LOST_HELPER)
        snprintf(how, QB_MORTAL_HOW, "lost the one that opens files for it");
    else
        snprintf(how, QB_MORTAL_HOW, "ended with exit code %d", WEXITSTATUS(status));
}
