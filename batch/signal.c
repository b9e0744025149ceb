#include "batch/signal.h"

#include <signal.h>
#include <stddef.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static atomic_int seen;
static _Atomic(const char *) restore_text;

static void on_signal(int number)
{
    const char *restore = atomic_load(&restore_text);

    (void)number;
    if (atomic_fetch_add(&seen, 1) == 0)
        return;
    if (restore && write(STDERR_FILENO, restore, strlen(restore)) < 0)
        _exit(QB_EXIT_INTERRUPTED);
    _exit(QB_EXIT_INTERRUPTED);
}

void qb_signal_install(void)
{
    static const int ending[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old;

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
        if (sigaction(ending[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(ending[i], &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

static void on_deadline(int number)
{
    int none = 0;

    (void)number;
    atomic_compare_exchange_strong(&seen, &none, 1);
}

void qb_signal_deadline(double seconds)
{
    struct sigaction action = {.sa_handler = on_deadline, .sa_flags = SA_RESTART};
    struct itimerval timer = {.it_value.tv_sec = (time_t)seconds};

    timer.it_value.tv_usec = (suseconds_t)((seconds - (double)timer.it_value.tv_sec) * 1e6);
    if (timer.it_value.tv_sec == 0 && timer.it_value.tv_usec == 0)
        timer.it_value.tv_usec = 1;
    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

bool qb_signal_seen(void)
{
    return atomic_load(&seen) > 0;
}

void qb_signal_on_exit(const char *restore)
{
    atomic_store(&restore_text, restore);
}
