#include "clock/stop.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

static volatile sig_atomic_t asked;
static volatile pid_t child, sender;

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
enum { SIGNALS = sizeof(signals) / sizeof(signals[0]) };

/* The first signal lets the child end its own way; the second does not. */
static void on_signal(int number, siginfo_t *info, void *context)
{
    int saved = errno;

    (void)context;
    if (child > 0)
        kill(-child, asked ? SIGKILL : SIGTERM);
    asked = number;
    sender = info->si_pid; /* 0: the kernel, as for ^C */
    errno = saved;
}

static void the_set(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < SIGNALS; i++)
        sigaddset(set, signals[i]);
}

void bench_stop_install(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};

    the_set(&action.sa_mask);
    for (size_t i = 0; i < SIGNALS; i++)
        sigaction(signals[i], &action, NULL);
}

bool bench_stop_asked(void)
{
    return asked;
}

int bench_stop_fail(struct qb_err *err)
{
    const char *name = sigabbrev_np(asked);

    if (sender)
        return qb_fail(err, QB_E_CANCELLED, QB_NOWHERE, "stopped by SIG%s of process %ld",
                       name ? name : "?", (long)sender);
    return qb_fail(err, QB_E_CANCELLED, QB_NOWHERE, "stopped by SIG%s", name ? name : "?");
}

void bench_stop_hold(void)
{
    sigset_t set;

    the_set(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

void bench_stop_release(pid_t group)
{
    sigset_t set;

    child = group;
    the_set(&set);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}
