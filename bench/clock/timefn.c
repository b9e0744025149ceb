#include "clock/timefn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "clock/stop.h"

enum { CANNOT_START = 127 };

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/*
 * Runs in the child, on the parent's memory: system calls only.  A command that outlives a bench
 * that was killed would go on writing into a folder that the next bench removes.
 */
static void become(char *const argv[], const struct bench_how *how, int errors, int nowhere)
{
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (how->open_files) {
        struct rlimit limit = {how->open_files, how->open_files};

        setrlimit(RLIMIT_NOFILE, &limit);
    }
    dup2(nowhere, 0);
    dup2(nowhere, 1);
    dup2(errors, 2);
    execvp(argv[0], argv);
    _exit(CANNOT_START);
}

/* vfork: the cost of copying the bench's own memory map belongs to no contender. */
static pid_t start(char *const argv[], const struct bench_how *how, int errors, int nowhere)
{
    pid_t pid = vfork();

    if (pid == 0)
        become(argv, how, errors, nowhere);
    return pid;
}

static int wait_for(pid_t pid, struct rusage *usage)
{
    int status;

    while (wait4(pid, &status, 0, usage) < 0) {
        if (errno != EINTR)
            return CANNOT_START;
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run(char *const argv[], const struct bench_how *how, int errors, int nowhere,
               struct bench_timed *timed, struct qb_err *err)
{
    struct rusage usage = {0};
    double began;
    pid_t pid;

    bench_stop_hold();
    began = qb_now();
    pid = bench_stop_asked() ? -1 : start(argv, how, errors, nowhere);
    bench_stop_release(pid > 0 ? pid : 0);
    if (pid > 0) {
        timed->exit_code = wait_for(pid, &usage);
        timed->seconds = qb_now() - began;
    }
    bench_stop_hold();
    bench_stop_release(0);
    if (bench_stop_asked()) {
        if (pid > 0)
            kill(-pid, SIGKILL); /* what it left behind */
        return bench_stop_fail(err);
    }
    if (pid < 0 || timed->exit_code == CANNOT_START)
        return qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE, "cannot run %s", argv[0]);
    timed->user = seconds_of(usage.ru_utime);
    timed->system = seconds_of(usage.ru_stime);
    timed->max_rss = (uint64_t)usage.ru_maxrss << 10;
    return 0;
}

int bench_time(char *const argv[], const struct bench_how *how, struct bench_timed *timed,
               struct qb_err *err)
{
    int errors = open(how->errors, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    int r = -1;

    if (how->topology)
        setenv("HWLOC_SYNTHETIC", how->topology, 1);
    if (errors < 0 || nowhere < 0)
        qb_fail_sys(err, errno, QB_NOWHERE, "%s: cannot open", how->errors);
    else
        r = run(argv, how, errors, nowhere, timed, err);
    if (how->topology)
        unsetenv("HWLOC_SYNTHETIC");
    if (errors >= 0)
        close(errors);
    if (nowhere >= 0)
        close(nowhere);
    return r;
}
