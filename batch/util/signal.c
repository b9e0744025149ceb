#include "util/signal.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "util/exit_code.h"

static atomic_int seen_here;
static atomic_int *seen = &seen_here; /* or in memory that processes of a run share */
static _Atomic(const char *) restore_text, first_text;

static void on_signal(int number)
{
    const char *restore = atomic_load(&restore_text);

    const char *first = atomic_load(&first_text);
    int saved = errno;

    (void)number;
    if (atomic_fetch_add(seen, 1) == 0) {
        if (restore && isatty(STDERR_FILENO) && write(STDERR_FILENO, restore, strlen(restore)) < 0)
            first = NULL;
        if (first && write(STDERR_FILENO, first, strlen(first)) < 0)
            errno = saved;
        errno = saved;
        return;
    }
    if (restore && write(STDERR_FILENO, restore, strlen(restore)) < 0)
        _exit(QB_EXIT_INTERRUPTED);
    _exit(QB_EXIT_INTERRUPTED);
}

/* ---- SIGUSR1 --------------------------------------------------------------------------------- */

static _Atomic(const atomic_size_t *) told_done, told_failed;
static atomic_size_t told_total;

/* printf is not for signal handlers. */
static char *put_text(char *to, const char *text)
{
    size_t len = strlen(text);

    memcpy(to, text, len);
    return to + len;
}

static char *put_number(char *to, size_t n)
{
    char digits[20], *first = digits + sizeof(digits);

    do
        *--first = (char)('0' + n % 10);
    while (n /= 10);
    memcpy(to, first, (size_t)(digits + sizeof(digits) - first));
    return to + (digits + sizeof(digits) - first);
}

static void on_usr1(int number)
{
    const atomic_size_t *done = atomic_load(&told_done), *failed = atomic_load(&told_failed);
    int saved = errno;
    char text[160], *end = put_text(text, "\rqbatch: ");

    (void)number;
    if (!done || !failed) {
        end = put_text(end, "no image is in work\n");
    } else {
        end = put_number(end, atomic_load(done));
        end = put_text(end, " of ");
        end = put_number(end, atomic_load(&told_total));
        end = put_text(end, " images are done, ");
        end = put_number(end, atomic_load(failed));
        end = put_text(end, " failed\n");
    }
    if (write(STDERR_FILENO, text + !isatty(STDERR_FILENO),
              (size_t)(end - text) - !isatty(STDERR_FILENO)) < 0)
        errno = saved; /* nobody reads it */
    errno = saved;
}

void qb_signal_tell(const atomic_size_t *done, const atomic_size_t *failed, size_t total)
{
    atomic_store(&told_total, total);
    atomic_store(&told_failed, failed);
    atomic_store(&told_done, done);
}

/* Asks the run to end, once: a signal that comes again and again must not end the process. */
static void on_deadline(int number)
{
    int none = 0;

    (void)number;
    atomic_compare_exchange_strong(seen, &none, 1);
}

void qb_signal_install(void)
{
    static const int ending[] = {SIGINT, SIGTERM, SIGHUP};
    /* EPIPE, EFBIG: of one file, not of the run.  SIGIO: somebody waits for a lease
     * (opener/in_use.h).
     */
    static const int errors[] = {SIGPIPE, SIGXFSZ, SIGIO};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old;

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
        if (sigaction(ending[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(ending[i], &action, NULL);
    action.sa_handler = on_usr1;
    sigaction(SIGUSR1, &action, NULL);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        sigaction(errors[i], &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    sigaction(SIGXCPU, &(struct sigaction){.sa_handler = on_deadline, .sa_flags = SA_RESTART},
              NULL);
}

void qb_signal_end(void)
{
    on_deadline(0);
}

void qb_signal_deadline(double seconds)
{
    struct sigaction action = {.sa_handler = on_deadline, .sa_flags = SA_RESTART};
    struct itimerval timer = {.it_value.tv_sec = (time_t)seconds};

    timer.it_value.tv_usec = (suseconds_t)((seconds - (double)timer.it_value.tv_sec) * 1e6);
    if (seconds > 0 && timer.it_value.tv_sec == 0 && timer.it_value.tv_usec == 0)
        timer.it_value.tv_usec = 1;
    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

bool qb_signal_seen(void)
{
    return atomic_load(seen) > 0;
}

void qb_signal_on_exit(const char *restore)
{
    atomic_store(&restore_text, restore);
}

void qb_signal_first_words(const char *text)
{
    atomic_store(&first_text, text);
}

bool qb_signal_share(void)
{
    sigset_t all, before;
    atomic_int *shared;

    if (seen != &seen_here)
        return true;
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED)
        return false;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    atomic_init(shared, atomic_load(seen));
    seen = shared;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return true;
}

void qb_signal_leave(void)
{
    static const int of_the_parent[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};

    for (size_t i = 0; i < sizeof(of_the_parent) / sizeof(of_the_parent[0]); i++)
        signal(of_the_parent[i], SIG_IGN);
}
