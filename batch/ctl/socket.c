#include "ctl/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/signal.h"

enum { WAITING = 16, SECONDS = 10 };

/* By way of the open directory: the name of a state directory may be longer than an address. */
static int address_of(const char *dir, const char *run, struct sockaddr_un *out, int *dir_fd,
                      struct qb_err *err)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    *dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*dir_fd < 0)
        return qb_fail_sys(err, errno, QB_NOWHERE, "cannot use the state directory %.200s", dir);
    snprintf(out->sun_path, sizeof(out->sun_path), "/proc/self/fd/%d/%.40s.ctl", *dir_fd, run);
    return 0;
}

void qb_ctl_unlink(const char *dir, const char *run)
{
    int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    char name[64];

    snprintf(name, sizeof(name), "%.40s.ctl", run);
    if (dir_fd >= 0) {
        unlinkat(dir_fd, name, 0);
        close(dir_fd);
    }
}

/* The mode is set before there is a name by which anybody could connect. */
static int bind_and_listen(int fd, const struct sockaddr_un *at)
{
    return fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)at, sizeof(*at)) < 0 ||
                   listen(fd, WAITING) < 0
               ? -1
               : 0;
}

int qb_ctl_listen(const char *dir, const char *run, struct qb_err *err)
{
    struct sockaddr_un at;
    int dir_fd, fd;

    if (address_of(dir, run, &at, &dir_fd, err) < 0)
        return -1;
    qb_ctl_unlink(dir, run);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind_and_listen(fd, &at) < 0) {
        qb_fail_sys(err, errno, QB_NOWHERE, "cannot make a control socket in %.200s", dir);
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    close(dir_fd);
    return fd;
}

static int fail_connect(const char *run, int errnum, struct qb_err *err)
{
    if (errnum == ECONNREFUSED)
        return qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE,
                       "run %s is not under way: its process was killed; qbatch status %s", run,
                       run);
    if (errnum == ENOENT)
        return qb_fail(err, QB_E_NOT_FOUND, QB_NOWHERE,
                       "run %s is not under way, or has no control socket (policy.sandbox)", run);
    return qb_fail_sys(err, errnum, QB_NOWHERE, "cannot reach run %s", run);
}

static int reach(int fd, const struct sockaddr_un *at)
{
    int r;

    do
        r = connect(fd, (const struct sockaddr *)at, sizeof(*at));
    while (r < 0 && errno == EINTR && !qb_signal_seen());
    return r;
}

int qb_ctl_connect(const char *dir, const char *run, struct qb_err *err)
{
    const struct timeval patience = {.tv_sec = SECONDS};
    struct sockaddr_un at;
    int dir_fd, fd;

    if (address_of(dir, run, &at, &dir_fd, err) < 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
        reach(fd, &at) < 0) {
        fail_connect(run, errno, err);
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    close(dir_fd);
    return fd;
}

bool qb_ctl_peer(int fd, uid_t *uid)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || len != sizeof(peer))
        return false;
    *uid = peer.uid;
    return true;
}

bool qb_ctl_may(uid_t uid, uid_t owner)
{
    return uid == owner || uid == 0;
}
