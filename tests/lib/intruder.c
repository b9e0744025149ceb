/* A library to be preloaded: what code could do that a hostile image had taken over.  With each
 * read and write of a file it tries to open a path, to run a program and more, and writes to the
 * file INTRUDER_LOG, in a line, which errno each of them got; 0 is success.
 *
 * INTRUDER_STOPS=1: once opening a path is denied, it stops the process, for others to look at it.
 * INTRUDER_DIES=1: it ends it instead.
 * INTRUDER_LACKS=landlock,seccomp,fork,unshare makes these calls fail as on a kernel that has none.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int log_fd = -1;
static struct stat log_file; /* a process that closed it may have another file of that number */

typedef long six[6];

static long call(long number, const six a)
{
    static long (*next)(long, ...);

    if (!next)
        next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#define CALL(number, ...) call(number, (const six){__VA_ARGS__})
#define P(pointer)        (long)(intptr_t)(pointer)

static int add(char *line, int used, const char *name, long got)
{
    return used + sprintf(line + used, "%s=%d ", name, got < 0 ? errno : 0);
}

/* A success is undone. */
static int add_fd(char *line, int used, const char *name, long got)
{
    used = add(line, used, name, got);
    if (got >= 0)
        close((int)got);
    return used;
}

static long make_process(void)
{
    long pid = CALL(SYS_clone, SIGCHLD);

    if (pid == 0)
        CALL(SYS_exit_group, 0);
    return pid;
}

/* Once. */
static void stop_or_die(void)
{
    static int done;

    if (done++)
        return;
    if (getenv("INTRUDER_STOPS"))
        raise(SIGSTOP);
    if (getenv("INTRUDER_DIES"))
        raise(SIGABRT);
}

/* To where it runs anyway. */
static long move_parent(void)
{
    unsigned long cpus[128] = {0};
    long n = CALL(SYS_sched_getaffinity, getppid(), sizeof(cpus), P(cpus));

    return n < 0 ? n : CALL(SYS_sched_setaffinity, getppid(), n, P(cpus));
}

static void intrude(void)
{
    static char *const none[] = {NULL};
    char line[1000];
    int n = 0, denied;
    struct rlimit limit;
    void *map;

    struct stat now;

    if (log_fd < 0 || fstat(log_fd, &now) < 0 || now.st_ino != log_file.st_ino ||
        now.st_dev != log_file.st_dev)
        return;
    n = add_fd(line, n, "open", CALL(SYS_openat, AT_FDCWD, P("/etc/passwd"), O_RDONLY));
    denied = strncmp(line, "open=0 ", 7) != 0;
    n = add_fd(line, n, "proc", CALL(SYS_openat, AT_FDCWD, P("/proc/self/mem"), O_RDWR));
    n = add_fd(line, n, "socket", CALL(SYS_socket, AF_INET, SOCK_STREAM));
    n = add(line, n, "execve", CALL(SYS_execve, P("/nonexistent"), P(none), P(none)));
    n = add(line, n, "ptrace", CALL(SYS_ptrace, PTRACE_PEEKDATA, getppid()));
    n = add(line, n, "process", make_process());
    n = add_fd(line, n, "pidfd", CALL(SYS_pidfd_open, getppid()));
    n = add(line, n, "memory", CALL(SYS_process_vm_writev, getppid()));
    n = add(line, n, "connect", CALL(SYS_connect, log_fd));
    n = add(line, n, "affinity", move_parent());
    n = add(line, n, "kill", CALL(SYS_kill, getppid(), 0));
    n = add(line, n, "rename", CALL(SYS_renameat2, AT_FDCWD, P("/nonexistent"), AT_FDCWD, P("/x")));
    n = add(line, n, "unlink", CALL(SYS_unlinkat, AT_FDCWD, P("/nonexistent")));
    n = add(line, n, "chmod", CALL(SYS_fchmodat, AT_FDCWD, P("/nonexistent")));
    n = add_fd(line, n, "ring", CALL(SYS_io_uring_setup, 1));
    n = add(line, n, "handle", CALL(SYS_open_by_handle_at, -1));
    getrlimit(RLIMIT_NOFILE, &limit);
    n = add(line, n, "limit", CALL(SYS_prlimit64, 0, RLIMIT_NOFILE, P(&limit)));
    map = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    n = add(line, n, "code", map == MAP_FAILED ? -1 : 0);
    if (map != MAP_FAILED)
        munmap(map, 4096);
    line[n - 1] = '\n';
    CALL(SYS_write, log_fd, P(line), n);
    if (denied)
        stop_or_die();
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("INTRUDER_LOG");

    if (path)
        log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd >= 0)
        fstat(log_fd, &log_file);
}

/* The process of a large run that reads images closes what it does not know. */
int close_range(unsigned first, unsigned last, int flags)
{
    int (*next)(unsigned, unsigned, int) =
        (int (*)(unsigned, unsigned, int))dlsym(RTLD_NEXT, "close_range");
    int r = next(first, last, flags);
    char name[16] = "";

    prctl(PR_GET_NAME, name);
    if (strcmp(name, "qbatch-images") == 0 && log_fd >= (int)first && (unsigned)log_fd <= last)
        begin();
    return r;
}

static int lacks(const char *what)
{
    const char *lacking = getenv("INTRUDER_LACKS");

    return lacking && strstr(lacking, what) != NULL;
}

pid_t fork(void)
{
    pid_t (*next)(void) = (pid_t(*)(void))dlsym(RTLD_NEXT, "fork");

    if (!lacks("fork"))
        return next();
    errno = EAGAIN;
    return -1;
}

int unshare(int flags)
{
    if (!lacks("unshare"))
        return (int)CALL(SYS_unshare, flags);
    errno = EPERM;
    return -1;
}

long syscall(long number, ...)
{
    six a;
    va_list ap;

    va_start(ap, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if ((lacks("landlock") && (number == SYS_landlock_create_ruleset)) ||
        (lacks("seccomp") && number == SYS_seccomp)) {
        errno = ENOSYS;
        return -1;
    }
    return call(number, a);
}

ssize_t pread64(int fd, void *buf, size_t n, off_t offset)
{
    ssize_t (*next)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread64");

    intrude();
    return next(fd, buf, n, offset);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off_t offset)
{
    ssize_t (*next)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite64");

    intrude();
    return next(fd, buf, n, offset);
}
