#include "batch/signal.h"

#include <signal.h>
#include <stddef.h>
#include <stdatomic.h>
#include <string.h>
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

bool qb_signal_seen(void)
{
    return atomic_load(&seen) > 0;
}

void qb_signal_on_exit(const char *restore)
{
    atomic_store(&restore_text, restore);
}
