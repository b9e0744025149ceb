#include "util/slow_input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/signal.h"

enum { LOOK_AFTER_MS = 100 }; /* whether the run is to stop */

/* A device like /dev/zero has no end. */
static int odd_kind(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return errno;
    if (S_ISDIR(st.st_mode))
        return EISDIR;
    return S_ISBLK(st.st_mode) || (S_ISCHR(st.st_mode) && !isatty(fd)) ? ENOTSUP : 0;
}

int qb_incoming_open(const char *path)
{
    int fd, odd;

    if (strcmp(path, "-") == 0)
        return STDIN_FILENO;
    fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    odd = fd < 0 ? 0 : odd_kind(fd);
    if (!odd)
        return fd;
    close(fd);
    errno = odd;
    return -1;
}

ssize_t qb_incoming_read(int fd, void *buf, size_t len)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    while (!qb_signal_seen()) {
        int ready = poll(&p, 1, LOOK_AFTER_MS);
        ssize_t n;

        if (ready == 0 || (ready < 0 && errno == EINTR))
            continue;
        if (ready < 0)
            return -1;
        n = read(fd, buf, len);
        if (n >= 0 || (errno != EAGAIN && errno != EINTR))
            return n;
    }
    errno = EINTR;
    return -1;
}

void qb_incoming_close(int fd)
{
    if (fd >= 0 && fd != STDIN_FILENO)
        close(fd);
}
