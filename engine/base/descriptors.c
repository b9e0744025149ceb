#include "base/descriptors.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "base/num.h"

rlim_t qb_descriptors_allow(void)
{
    struct rlimit limit;
    rlim_t soft;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 1;
    soft = limit.rlim_cur;
    if (soft >= limit.rlim_max)
        return soft;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? soft : limit.rlim_max;
}

void qb_descriptors_make_room(size_t files)
{
    struct rlimit limit;
    int fd, high;

    if (files == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == 0)
        return;
    files = qb_min(qb_min(files, limit.rlim_cur), INT_MAX);
    fd = open("/", O_PATH | O_CLOEXEC);
    high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, (int)files - 1);
    if (high >= 0)
        close(high);
    if (fd >= 0)
        close(fd);
}
